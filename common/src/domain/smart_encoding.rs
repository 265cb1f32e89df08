//! Replaces characters that would make a text UCS-2: typographic quotes, dashes and spaces, and, if requested, accented
//! letters that GSM-7 lacks.
//!
//! Follows the map of Twilio's Smart Encoding (source: `smart_encoding/twilio_map.rs`) and adds a few characters.
//! Letters and combining accents are composed first, with every setting: the text looks the same and costs less. So `n`
//! and U+0303 become `ñ`, where the map would produce `n~`. A text that stays UCS-2, for example because of an emoji,
//! is not changed.

use super::segments::{self, Encoding};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::str::FromStr;
use utoipa::ToSchema;

/// The characters that may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmartEncoding {
    /// None.
    #[default]
    None,
    /// Quotes, dashes, ellipses, bullets, spaces and similar ones.
    Punctuation,
    /// These, and accented letters that GSM-7 lacks: á becomes a, ç becomes c.
    All,
}

impl SmartEncoding {
    /// All settings.
    pub const ALL: [Self; 3] = [Self::None, Self::Punctuation, Self::All];

    /// Returns the name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Punctuation => "punctuation",
            Self::All => "all",
        }
    }

    /// Returns the text to send: with composed accents, and with replaced characters if that makes it GSM-7 and not
    /// blank.
    #[must_use]
    pub fn apply(self, text: &str) -> Cow<'_, str> {
        let composed = compose(text);
        if self == Self::None || segments::count(&composed).encoding == Encoding::Gsm7 {
            return composed;
        }
        let replaced = self.replaced(&composed);
        let is_better = segments::count(&replaced).encoding == Encoding::Gsm7 && !replaced.trim().is_empty();
        if is_better { Cow::Owned(replaced) } else { composed }
    }

    /// Returns the text with all replacements. Two texts have the same result if Smart Encoding is their only
    /// difference.
    #[must_use]
    pub fn plainest(text: &str) -> String {
        Self::All.replaced(&compose(text))
    }

    fn replaced(self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        for character in text.chars() {
            match punctuation(character) {
                Some(Replacement::Text(text)) => replaced.push_str(text),
                Some(Replacement::Character(character)) => replaced.push(character),
                None => replaced.push(character),
            }
        }
        // A character between a letter and its accent may have been removed.
        let replaced = compose(&replaced);
        if self != Self::All {
            return replaced.into_owned();
        }
        let mut plain = String::with_capacity(replaced.len());
        for character in replaced.chars() {
            match LETTERS.iter().find(|(accented, _)| accented.contains(character)) {
                Some((_, text)) => plain.push_str(text),
                None => plain.push(character),
            }
        }
        plain
    }
}

/// Composes letters with the combining accents that follow, where Unicode has one character for both. Unlike NFC, it
/// decomposes nothing, so no other character changes.
fn compose(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut composed = String::with_capacity(text.len());
    for character in text.chars() {
        // ASCII characters never compose with the previous one.
        let before = composed.chars().next_back().filter(|_| !character.is_ascii());
        match before.and_then(|before| unicode_normalization::char::compose(before, character)) {
            Some(one) => {
                composed.pop();
                composed.push(one);
            }
            None => composed.push(character),
        }
    }
    if composed == text { Cow::Borrowed(text) } else { Cow::Owned(composed) }
}

fn punctuation(character: char) -> Option<Replacement> {
    let in_map = |map: &[(char, &'static str)]| {
        let found = map.binary_search_by_key(&character, |(character, _)| *character).ok()?;
        map.get(found).map(|(_, text)| Replacement::Text(text))
    };
    if character.is_ascii_graphic() && character != '`' || matches!(character, ' ' | '\n' | '\r') {
        return None;
    }
    in_map(&TWILIO_MAP).or_else(|| in_map(&OUR_MAP)).or_else(|| {
        let is_full_width = ('\u{ff01}'..='\u{ff5e}').contains(&character);
        let narrow = char::from_u32(u32::from(character).checked_sub(FULL_WIDTH)?)?;
        is_full_width.then_some(Replacement::Character(narrow))
    })
}

enum Replacement {
    Text(&'static str),
    Character(char),
}

/// The text is not a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be none, punctuation or all")]
pub struct NotAChoice;

impl FromStr for SmartEncoding {
    type Err = NotAChoice;

    fn from_str(word: &str) -> Result<Self, NotAChoice> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == word).ok_or(NotAChoice)
    }
}

/// The distance between ASCII characters and their full-width forms.
const FULL_WIDTH: u32 = 0xfee0;

/// Twilio's map, sorted by character.
const TWILIO_MAP: [(char, &str); 271] = include!("smart_encoding/twilio_map.rs");

/// Characters that Twilio's map lacks: a prime, more dashes and a minus, a zero-width joiner and a soft hyphen.
const OUR_MAP: [(char, &str); 6] = [
    ('\u{ad}', ""),
    ('\u{200d}', ""),
    ('\u{2011}', "-"),
    ('\u{2012}', "-"),
    ('\u{2032}', "'"),
    ('\u{2212}', "-"),
];

/// Latin letters that GSM-7 lacks. It has é, ñ, ü, à, Ç and others.
const LETTERS: &[(&str, &str)] = &[
    ("áâãāăą", "a"),
    ("ÁÀÂÃĀĂĄ", "A"),
    ("çćĉċč", "c"),
    ("ĆĈĊČ", "C"),
    ("ďđ", "d"),
    ("ĎĐ", "D"),
    ("êëēĕėęě", "e"),
    ("ÈÊËĒĔĖĘĚ", "E"),
    ("ğģ", "g"),
    ("ĞĢ", "G"),
    ("íîïĩīĭįı", "i"),
    ("ÍÌÎÏĨĪĬĮİ", "I"),
    ("łľļ", "l"),
    ("ŁĽĻ", "L"),
    ("ńņň", "n"),
    ("ŃŅŇ", "N"),
    ("óôõōŏő", "o"),
    ("ÓÒÔÕŌŎŐ", "O"),
    ("ŕř", "r"),
    ("ŔŘ", "R"),
    ("śŝşšș", "s"),
    ("ŚŜŞŠȘ", "S"),
    ("ţťț", "t"),
    ("ŢŤȚ", "T"),
    ("úûũūŭůűų", "u"),
    ("ÚÙÛŨŪŬŮŰŲ", "U"),
    ("ýÿ", "y"),
    ("ÝŸ", "Y"),
    ("źżž", "z"),
    ("ŹŻŽ", "Z"),
    ("ª", "a"),
    ("º", "o"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(choice: SmartEncoding, text: &str, expected: &str) {
        assert_eq!(choice.apply(text), expected);
    }

    #[test]
    fn typographic_characters_are_replaced() {
        let choice = SmartEncoding::Punctuation;
        check(choice, "“Don’t” – it’s\u{a0}due… – ‘now’", "\"Don't\" - it's  due... - 'now'");
        check(choice, "½\u{200b} hour — ＲＥＮＴ！ • now", "1/2 hour - RENT! - now");
        check(choice, "«Mañana» a las 9", "\"Mañana\" a las 9");
    }

    #[test]
    fn accents_go_only_when_that_is_asked_for_and_only_where_gsm_7_lacks_them() {
        let text = "Olá, você não pagou à administração: é o número 7";
        check(SmartEncoding::Punctuation, text, text);
        check(SmartEncoding::All, text, "Ola, voce nao pagou à administracao: é o numero 7");
        check(SmartEncoding::All, "¿Está aquí el señor Núñez? “Sí”", "¿Esta aqui el señor Nuñez? \"Si\"");
    }

    #[test]
    fn what_would_be_ucs_2_all_the_same_or_is_gsm_7_already_stays_as_it_is() {
        check(SmartEncoding::All, "“Olá” 🏠", "“Olá” 🏠");
        check(SmartEncoding::All, "Já vou – 好", "Já vou – 好");
        // A backtick is not in GSM-7, an apostrophe is.
        check(SmartEncoding::Punctuation, "`a`", "'a'");
        check(SmartEncoding::All, "é ñ ü à ¿ ¡ Ç Ñ €", "é ñ ü à ¿ ¡ Ç Ñ €");
        check(SmartEncoding::None, "“a”", "“a”");
    }

    #[test]
    fn every_entry_of_twilios_map_is_replaced_as_twilio_does() {
        let published = include_str!("../../cases/smart_encoding.json");
        let published: serde_json::Value = serde_json::from_str(published).unwrap();
        let map = published["map"].as_object().unwrap();
        assert_eq!(map.len(), TWILIO_MAP.len());
        for (character, replacement) in map {
            let expected = format!("1{}2", replacement.as_str().unwrap());
            for choice in [SmartEncoding::Punctuation, SmartEncoding::All] {
                check(choice, &format!("1{character}2"), &expected);
            }
        }
    }

    #[test]
    fn accents_are_composed_with_every_setting() {
        for choice in SmartEncoding::ALL {
            check(choice, "Man\u{303}ana", "Mañana");
            check(choice, "Cafe\u{301}", "Café");
            // U+2001 is not changed: NFC would make it U+2003.
            check(SmartEncoding::None, "e\u{323}\u{302}\u{2001}好", "ệ\u{2001}好");
        }
        check(SmartEncoding::All, "Ola\u{301} voce\u{302}", "Ola voce");
        check(SmartEncoding::All, "a\u{200b}\u{301}", "a");
        check(SmartEncoding::Punctuation, "“Man\u{303}ana”", "\"Mañana\"");
        check(SmartEncoding::Punctuation, "“Man\u{303}ana” 🏠", "“Mañana” 🏠");
    }

    #[test]
    fn a_text_never_becomes_blank() {
        check(SmartEncoding::All, "\u{200b}", "\u{200b}");
    }

    #[test]
    fn the_maps_are_sorted_and_disjoint() {
        assert!(TWILIO_MAP.is_sorted_by(|a, b| a.0 < b.0) && OUR_MAP.is_sorted_by(|a, b| a.0 < b.0));
        for (character, _) in OUR_MAP {
            assert!(TWILIO_MAP.iter().all(|(other, _)| *other != character), "{character:?}");
        }
    }

    #[test]
    fn everything_that_is_replaced_is_not_gsm_7_and_its_replacement_is() {
        let letters = LETTERS.iter().flat_map(|(letters, text)| letters.chars().map(move |c| (c, *text)));
        for (character, text) in TWILIO_MAP.into_iter().chain(OUR_MAP).chain(letters) {
            assert_eq!(segments::count(text).encoding, Encoding::Gsm7, "{text}");
            let encoding = segments::count(&character.to_string()).encoding;
            assert_eq!(encoding, Encoding::Ucs2, "{character} {:x}", u32::from(character));
        }
    }
}
