//! Features of the model: words, their kinds, and their positions.
//!
//! A *kind* is a group of words of the three languages with the same role in a refusal (`material/kinds.txt`): "texts",
//! "mensajes" and "msgs" are one, so the model learns them together.

use std::borrow::Cow;

use super::fold::{Kind, Token, squeeze};
use super::model;
use super::signs;

/// Longer texts are reduced to their first and last tokens.
const MOST_TOKENS: usize = 96;
/// The maximum length of letter sequences.
const SEQUENCES: [usize; 2] = [3, 4];
/// The weight of a sign, in features.
const SIGN_WEIGHT: u64 = 8;
/// The number of letters of a stem, for words without a kind.
const STEM: usize = 5;

/// A token with its kind.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// The word.
    word: u64,
    /// Its kind, or its stem.
    kind: u64,
    /// Whether it has a kind.
    is_known: bool,
    is_word: bool,
    clause: u16,
}

impl Seen {
    /// Returns the number of the kind that the word belongs to.
    pub(super) fn kind_number(&self) -> Option<u8> {
        if self.is_known { u8::try_from(self.kind).ok() } else { None }
    }
}

const EDGE: Seen = Seen { word: 1, kind: 1 << 50, is_known: false, is_word: false, clause: 0 };
/// Offset of punctuation marks, to separate them from kinds.
const MARKS: u64 = 210;

/// Returns whether a folded word belongs to a kind.
pub(super) fn is_known(word: &str) -> bool {
    model::kind_of(model::MODEL, word).is_some()
}

/// Calls `visit` with the hash of every feature of a text.
pub(super) fn for_each(table: &[u8], tokens: &[Token<'_>], mut visit: impl FnMut(u64)) {
    let mut add = |tag: u64, feature: u64| {
        let hash = mix(feature, tag.wrapping_mul(0xd6e8_feb8_6659_fd93));
        visit(hash ^ (hash >> 31));
    };
    let tokens = &*shortened(tokens);
    let mut seen: Vec<Seen> = Vec::with_capacity(tokens.len());
    let mut clause = 0;
    let mut marked = Vec::new();
    for token in tokens {
        if token.kind == Kind::Word {
            for_each_sequence(token.text.as_bytes(), &mut marked, |hash| add(9, hash));
        }
        let (next, ends_clause) = see(table, token, clause);
        clause += u16::from(ends_clause);
        seen.push(next);
    }
    let count = seen.iter().filter(|token| token.is_word).count();
    add(1, 0);
    add(2, length_class(count));
    neighbours(&seen, &mut add);
    pairs(&seen, &mut add);
    places(&seen, count, &mut add);
    for (number, _) in (0..).zip(signs::of(tokens, &seen)).filter(|(_, is_there)| *is_there) {
        (0..SIGN_WEIGHT).for_each(|copy| add(50 + copy, number));
    }
}

/// Removes the middle of a very long text.
fn shortened<'t, 'a>(tokens: &'t [Token<'a>]) -> Cow<'t, [Token<'a>]> {
    const HALF: usize = MOST_TOKENS / 2;
    match (tokens.first_chunk::<HALF>(), tokens.last_chunk::<HALF>()) {
        (Some(begin), Some(end)) if tokens.len() > MOST_TOKENS => Cow::Owned([*begin, *end].concat()),
        _ => Cow::Borrowed(tokens),
    }
}

fn see(table: &[u8], token: &Token<'_>, clause: u16) -> (Seen, bool) {
    if token.kind == Kind::Word {
        let word = squeeze(token.text);
        let kind = model::kind_of(table, &word);
        let hash = hash(word.as_bytes());
        let stem = || {
            let end = word.char_indices().nth(STEM).map_or(word.len(), |(end, _)| end);
            word.get(..end).map_or(0, |stem| self::hash(stem.as_bytes())) | 1 << 40
        };
        let kind_or_stem = kind.map_or_else(stem, u64::from);
        return (
            Seen { word: hash, kind: kind_or_stem, is_known: kind.is_some(), is_word: true, clause },
            false,
        );
    }
    let mark = MARKS + token.kind as u64;
    let ends_clause = matches!(
        token.kind,
        Kind::Comma | Kind::Stop | Kind::Exclamation | Kind::Question | Kind::Line | Kind::Quote
    );
    let is_word = token.kind == Kind::Number;
    (
        Seen { word: mark, kind: mark, is_known: false, is_word, clause: clause + u16::from(ends_clause) },
        ends_clause,
    )
}

fn length_class(words: usize) -> u64 {
    match words {
        0..=6 => words as u64,
        7..=9 => 7,
        10..=14 => 8,
        15..=22 => 9,
        23..=40 => 10,
        _ => 11,
    }
}

/// Up to four tokens in a row, and with gaps.
fn neighbours(seen: &[Seen], add: &mut impl FnMut(u64, u64)) {
    let at = |index: usize| seen.get(index).copied().unwrap_or(EDGE);
    for (index, a) in seen.iter().enumerate() {
        let (b, c, d) = (at(index + 1), at(index + 2), at(index + 3));
        let (words, kinds) = (mix(a.word, b.word), mix(a.kind, b.kind));
        add(10, a.word);
        add(11, words);
        add(12, mix(words, c.word));
        if a.is_word {
            add(20, a.kind);
        }
        add(21, kinds);
        add(22, mix(kinds, c.kind));
        add(23, mix(mix(kinds, c.kind), d.kind));
        add(24, mix(a.kind, c.kind));
        add(24, mix(a.kind, d.kind));
        add(25, mix(kinds, d.kind));
        add(26, mix(mix(a.kind, c.kind), d.kind));
        if a.is_known {
            let further = seen.iter().skip(index + 4).take(4);
            further.filter(|b| b.is_known && b.clause == a.clause).for_each(|b| add(27, mix(a.kind, b.kind)));
        }
    }
    let (a, b) = (at(0), at(1));
    add(11, mix(EDGE.word, a.word));
    add(12, mix(mix(EDGE.word, a.word), b.word));
    add(21, mix(EDGE.kind, a.kind));
    add(22, mix(mix(EDGE.kind, a.kind), b.kind));
}

/// All pairs of kinds in a text.
fn pairs(seen: &[Seen], add: &mut impl FnMut(u64, u64)) {
    const MOST: usize = 16;
    let mut kinds = [0; MOST];
    let mut count = 0;
    for token in seen.iter().filter(|token| token.is_known || !token.is_word) {
        let known = kinds.get(..count).unwrap_or_default();
        if !known.contains(&token.kind) {
            let Some(place) = kinds.get_mut(count) else { break };
            *place = token.kind;
            count += 1;
        }
    }
    let kinds = kinds.get_mut(..count).unwrap_or_default();
    kinds.sort_unstable();
    for (index, a) in kinds.iter().enumerate() {
        kinds.iter().skip(index + 1).for_each(|b| add(30, mix(*a, *b)));
    }
}

/// A short text as a whole; kinds by the text's length, in its first and last clause, and in questions.
fn places(seen: &[Seen], count: usize, add: &mut impl FnMut(u64, u64)) {
    if count <= 4 {
        let words = seen.iter().filter(|token| token.is_word);
        let (mut whole, mut kinds) = (7, 7);
        for token in words {
            (whole, kinds) = (mix(whole, token.word), mix(kinds, token.kind));
        }
        add(40, whole);
        add(41, kinds);
    }
    let length = match count {
        0..=2 => 0,
        3..=5 => 1,
        6..=10 => 2,
        11..=20 => 3,
        _ => 4,
    };
    let last = seen.iter().rev().find(|token| token.is_word).map_or(0, |token| token.clause);
    for token in seen.iter().filter(|token| token.is_known) {
        add(42, mix(token.kind, length));
        if token.clause == 0 {
            add(43, token.kind);
        }
        if token.clause == last {
            add(44, token.kind);
        }
    }
    let mut asked = false;
    for token in seen.iter().rev() {
        match token.is_word {
            false => asked = token.kind == MARKS + Kind::Question as u64,
            true if asked && token.is_known => add(45, token.kind),
            true => {}
        }
    }
}

/// The letter sequences of a word with its edges, which misspelled words still share.
/// `marked` is a buffer.
fn for_each_sequence(letters: &[u8], marked: &mut Vec<u8>, mut visit: impl FnMut(u64)) {
    if letters.len() < 3 {
        return;
    }
    marked.clear();
    marked.push(b' ');
    marked.extend_from_slice(letters);
    marked.push(b' ');
    for length in SEQUENCES {
        for sequence in marked.windows(length) {
            visit(sequence.iter().fold(length as u64, |hash, &letter| step(hash, letter)));
        }
    }
}

/// FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| step(hash, byte))
}

const fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

const fn mix(a: u64, b: u64) -> u64 {
    let hash = (a.rotate_left(23) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}
