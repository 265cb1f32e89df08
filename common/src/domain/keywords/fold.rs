//! Normalizes a text and splits it into tokens.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// A word or a punctuation mark of a folded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

/// The kind of a token. The trained model depends on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word = 0,
    Number = 1,
    Comma = 2,
    Stop = 3,
    Exclamation = 4,
    Question = 5,
    Line = 6,
    Quote = 7,
    /// A laughing face.
    Laugh = 8,
    /// A stop sign, a raised hand.
    Hand = 9,
    Emoji = 10,
}

/// Folds a text: lower case; no accents, apostrophes or invisible characters; fullwidth, mathematical and look-alike
/// letters as plain ones (Unicode's compatibility decomposition).
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        let mut folded = text.to_ascii_lowercase();
        if folded.contains(['\'', '`']) {
            folded.retain(|c| !matches!(c, '\'' | '`'));
        }
        return folded;
    }
    text.nfkd().filter(|c| !is_dropped(*c)).flat_map(char::to_lowercase).map(look_alike).collect()
}

/// Returns whether a character is dropped: apostrophes, accents, variation selectors and format characters.
fn is_dropped(c: char) -> bool {
    matches!(c,
        '\'' | '’' | '‘' | '`' | '´' | 'ʼ'
        | '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{20dd}'..='\u{20e4}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the Latin letter that a Cyrillic or Greek one looks like.
fn look_alike(c: char) -> char {
    match c {
        'а' | 'α' => 'a',
        'в' => 'b',
        'с' => 'c',
        'е' | 'ε' => 'e',
        'н' => 'h',
        'і' | 'ι' | 'ı' => 'i',
        'к' | 'κ' => 'k',
        'м' => 'm',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'ν' => 'v',
        'х' | 'χ' => 'x',
        'у' => 'y',
        other => other,
    }
}

/// Splits a folded text into tokens. Repeated marks count once, and marks before the first word are dropped.
pub(super) fn tokens(folded: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::with_capacity(folded.len() / 4 + 4);
    let mut rest = folded;
    while let Some(c) = rest.chars().next() {
        let end = if c.is_alphanumeric() {
            rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        let (text, after) = rest.split_at(end);
        rest = after;
        let Some(kind) = kind(c, text, after) else { continue };
        let repeats =
            kind != Kind::Word && kind != Kind::Number && tokens.last().is_some_and(|last| last.kind == kind);
        let leads = tokens.is_empty() && matches!(kind, Kind::Exclamation | Kind::Question | Kind::Line);
        if !repeats && !leads {
            tokens.push(Token { kind, text });
        }
    }
    tokens
}

fn kind(first: char, text: &str, after: &str) -> Option<Kind> {
    Some(match first {
        c if c.is_alphanumeric() && text.bytes().all(|byte| byte.is_ascii_digit()) => Kind::Number,
        c if c.is_alphanumeric() => Kind::Word,
        ',' | ';' | ':' | '(' | ')' => Kind::Comma,
        '-' | '–' | '—' if after.starts_with([' ', '-']) => Kind::Comma,
        '.' | '…' => Kind::Stop,
        '!' | '¡' => Kind::Exclamation,
        '?' | '¿' => Kind::Question,
        '\n' | '\r' => Kind::Line,
        '"' | '“' | '”' | '«' | '»' => Kind::Quote,
        '😂' | '🤣' | '😆' | '😅' | '😹' | '😜' | '😝' | '😭' => Kind::Laugh,
        '🛑' | '✋' | '🚫' | '🙅' | '⛔' | '🤚' => Kind::Hand,
        c if u32::from(c) > 0x2190 => Kind::Emoji,
        _ => return None,
    })
}

/// Reduces three or more equal letters to one: "stoooop" becomes "stop".
pub(super) fn squeeze(word: &str) -> Cow<'_, str> {
    let bytes = word.as_bytes();
    if !bytes.windows(3).any(|three| three.iter().all(|byte| Some(byte) == three.first())) {
        return Cow::Borrowed(word);
    }
    let mut squeezed = String::with_capacity(word.len());
    let mut letters = word.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut run = 1;
        while letters.next_if_eq(&letter).is_some() {
            run += 1;
        }
        let times = if run > 2 { 1 } else { run };
        squeezed.extend(std::iter::repeat_n(letter, times));
    }
    Cow::Owned(squeezed)
}
