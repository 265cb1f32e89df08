//! Splits a text into words.
//!
//! A word consists of lower-case Latin-1 letters, one byte each, which covers all three languages. Links and mail
//! addresses are skipped, and all numbers are the same word, because they look alike in every language. A digit between
//! letters is kept ("2day"), and counts only if the whole word is known.

/// Longer words are truncated, because that is enough to recognize their language.
const MAX_LETTERS: usize = 24;
/// Only the first words of a text count. The longest Twilio message has about three times as many.
const MAX_WORDS: usize = 100;

/// The letter that represents a number.
pub(super) const NUMBER: u8 = b'0';

/// A word as in the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    letters: [u8; MAX_LETTERS],
    length: usize,
    /// Has a letter outside Latin-1: another script or another language.
    pub(super) foreign: bool,
    /// Has a capital but does not start a sentence: a name, unless the word is known.
    pub(super) named: bool,
    /// Starts with a capital, in a text that is not all capitals.
    pub(super) capital: bool,
    /// Contains a digit: "4B", "9am", "2day".
    pub(super) numbered: bool,
}

impl Word {
    /// Encodes a word; all numbers are [`NUMBER`].
    fn encode(text: &str) -> Option<Self> {
        let mut word = Self {
            letters: [0; MAX_LETTERS],
            length: 0,
            foreign: false,
            named: false,
            capital: false,
            numbered: false,
        };
        let mut has_letter = false;
        let mut run = 0;
        for c in text.chars() {
            if c.is_ascii_digit() {
                word.numbered = true;
                word.push(c as u8);
                continue;
            }
            if let Some(mark) = Accent::of(c) {
                word.put_accent(mark);
                continue;
            }
            let Some(letter) = latin_letter(c) else {
                word.foreign |= c.is_alphabetic();
                continue;
            };
            has_letter = true;
            run = if word.letters().last() == Some(&letter) { run + 1 } else { 1 };
            match run {
                // "siii", "noooo": a letter repeated three or more times counts once.
                3 => word.length -= 1,
                4.. => {}
                _ => word.push(letter),
            }
        }
        if word.numbered && !has_letter {
            word.letters = [0; MAX_LETTERS];
            word.length = 0;
            word.push(NUMBER);
        }
        (word.length > 0 || word.foreign).then_some(word)
    }

    fn push(&mut self, letter: u8) {
        if let Some(place) = self.letters.get_mut(self.length) {
            *place = letter;
            self.length += 1;
        }
    }

    fn put_accent(&mut self, accent: Accent) {
        if let Some(last) = self.length.checked_sub(1).and_then(|index| self.letters.get_mut(index)) {
            *last = accent.on(*last);
        }
    }

    /// Returns whether the word is a number or a time. Times such as "3pm" are used in all three languages.
    pub(super) fn is_number(&self) -> bool {
        let is_time = || {
            let hour = self.letters().strip_suffix(b"am").or_else(|| self.letters().strip_suffix(b"pm"));
            hour.is_some_and(|hour| !hour.is_empty() && hour.iter().all(u8::is_ascii_digit))
        };
        self.letters() == [NUMBER] || self.numbered && is_time()
    }

    /// Returns the lower-case letters as Latin-1.
    pub(super) fn letters(&self) -> &[u8] {
        self.letters.get(..self.length).unwrap_or_default()
    }

    /// Returns the word without accents, or `None` if it has none.
    pub(super) fn without_accents(&self) -> Option<Self> {
        let mut plain = self.clone();
        plain.letters.iter_mut().for_each(|letter| *letter = without_accent(*letter));
        (plain.letters != self.letters).then_some(plain)
    }

    /// Returns the word without accents and doubled letters, or `None` if it has no doubled letters.
    pub(super) fn without_doubles(&self) -> Option<Self> {
        let mut single = Self { letters: [0; MAX_LETTERS], length: 0, ..*self };
        for letter in self.letters().iter().copied().map(without_accent) {
            if single.letters().last() != Some(&letter) {
                single.push(letter);
            }
        }
        (single.length < self.length).then_some(single)
    }
}

/// A combining accent (Unicode NFD).
#[derive(Clone, Copy)]
enum Accent {
    Grave,
    Acute,
    Circumflex,
    Tilde,
    Diaeresis,
    Cedilla,
}

impl Accent {
    const fn of(c: char) -> Option<Self> {
        Some(match c {
            '\u{300}' => Self::Grave,
            '\u{301}' => Self::Acute,
            '\u{302}' => Self::Circumflex,
            '\u{303}' => Self::Tilde,
            '\u{308}' => Self::Diaeresis,
            '\u{327}' => Self::Cedilla,
            _ => return None,
        })
    }

    const fn on(self, letter: u8) -> u8 {
        // In Latin-1 the accented forms of a vowel follow each other: grave, acute, circumflex, tilde, diaeresis.
        match (letter, self) {
            (b'a', Self::Grave) => 0xe0,
            (b'a', Self::Acute) => 0xe1,
            (b'a', Self::Circumflex) => 0xe2,
            (b'a', Self::Tilde) => 0xe3,
            (b'c', Self::Cedilla) => 0xe7,
            (b'e', Self::Grave) => 0xe8,
            (b'e', Self::Acute) => 0xe9,
            (b'e', Self::Circumflex) => 0xea,
            (b'i', Self::Acute) => 0xed,
            (b'n', Self::Tilde) => 0xf1,
            (b'o', Self::Acute) => 0xf3,
            (b'o', Self::Circumflex) => 0xf4,
            (b'o', Self::Tilde) => 0xf5,
            (b'u', Self::Acute) => 0xfa,
            (b'u', Self::Diaeresis) => 0xfc,
            (other, _) => other,
        }
    }
}

/// Returns a letter in lower case as Latin-1, or `None` for other characters.
fn latin_letter(c: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(c)).ok()?;
    match byte {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => Some(byte),
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => Some(byte + 0x20),
        _ => None,
    }
}

const fn without_accent(letter: u8) -> u8 {
    match letter {
        0xe0..=0xe5 => b'a',
        0xe7 => b'c',
        0xe8..=0xeb => b'e',
        0xec..=0xef => b'i',
        0xf1 => b'n',
        0xf2..=0xf6 => b'o',
        0xf9..=0xfc => b'u',
        other => other,
    }
}

/// The words of a text, in order.
pub(super) struct Words<'a> {
    chunks: std::str::SplitWhitespace<'a>,
    chunk: &'a str,
    shouted: bool,
    left: usize,
    first: bool,
}

impl<'a> Words<'a> {
    /// Starts at the beginning of a text.
    pub(super) fn of(text: &'a str) -> Self {
        let shouted = !text.bytes().any(|byte| byte.is_ascii_lowercase());
        Self { chunks: text.split_whitespace(), chunk: "", shouted, left: MAX_WORDS, first: true }
    }

    /// Returns the next run of letters, digits and apostrophes.
    fn next_piece(&mut self) -> Option<&'a str> {
        loop {
            let rest = self.chunk.trim_start_matches(|c| !is_part_of_word(c));
            let skipped = self.chunk.strip_suffix(rest).unwrap_or_default();
            self.first |= skipped.contains(['.', '!', '?', '¿', '¡']);
            if rest.is_empty() {
                self.chunk = self.chunks.find(|chunk| !is_link(chunk))?;
                continue;
            }
            let end = rest.find(|c| !is_part_of_word(c)).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            self.chunk = after;
            return Some(piece);
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        while self.left > 0 {
            self.left -= 1;
            let piece = self.next_piece()?;
            let first = std::mem::replace(&mut self.first, false);
            if let Some(mut word) = Word::encode(piece) {
                word.capital = !self.shouted && piece.starts_with(char::is_uppercase);
                word.named = !first && word.capital;
                return Some(word);
            }
        }
        None
    }
}

fn is_part_of_word(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '\'' | '’' | '‘' | '`' | '´' => true,
        _ if c.is_ascii() => false,
        _ => c.is_alphanumeric() || Accent::of(c).is_some(),
    }
}

fn is_link(chunk: &str) -> bool {
    let may_be = chunk.bytes().any(|byte| matches!(byte, b'@' | b'.' | b':'));
    may_be
        && (chunk.contains('@')
            || chunk.contains("://")
            || chunk.contains("www.")
            || [".com", ".net", ".org", ".edu", ".gov"].iter().any(|domain| chunk.contains(domain)))
}
