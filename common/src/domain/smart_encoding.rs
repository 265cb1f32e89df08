//! Replaces characters that alone would make a text UCS-2, at less than half the room: typographic quotes, dashes and
//! spaces, and, only when asked for, letters with accents that GSM-7 lacks.
//!
//! After Twilio's Smart Encoding, as its own segment calculator has it (`SmartEncodingMap.ts` of
//! <https://github.com/TwilioDevEd/message-segment-calculator>, read 2026-11-24), with these differences: a space stays one
//! space and a tab becomes one; an angle quotation mark keeps its direction; small capitals and combining marks are left
//! alone. And a text that would be UCS-2 all the same, for an emoji, stays as it is.

use super::segments::{self, Encoding};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::str::FromStr;
use utoipa::ToSchema;

/// Which characters may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmartEncoding {
    /// None: the text is sent as it is.
    #[default]
    None,
    /// Quotes, dashes, ellipses, bullets, spaces and the like.
    Punctuation,
    /// These, and letters with accents that GSM-7 lacks: á becomes a, ç becomes c.
    All,
}

impl SmartEncoding {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::None, Self::Punctuation, Self::All];

    /// Returns the word that the API knows it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Punctuation => "punctuation",
            Self::All => "all",
        }
    }

    /// Returns the text as it is to be sent: with its characters replaced if that makes it GSM-7, and as it is if not.
    #[must_use]
    pub fn apply(self, text: &str) -> Cow<'_, str> {
        if self == Self::None || segments::count(text).encoding == Encoding::Gsm7 {
            return Cow::Borrowed(text);
        }
        let replaced = self.replaced(text);
        if segments::count(&replaced).encoding == Encoding::Gsm7 {
            Cow::Owned(replaced)
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Returns the text with all that may be replaced, whatever that makes of it: the same for two texts of which one may have
    /// gone through an encoding like this.
    #[must_use]
    pub fn plainest(text: &str) -> String {
        Self::All.replaced(text)
    }

    fn replaced(self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        for character in text.chars() {
            match self.replacement(character) {
                Some(Replacement::Text(text)) => replaced.push_str(text),
                Some(Replacement::Character(character)) => replaced.push(character),
                None => replaced.push(character),
            }
        }
        replaced
    }

    fn replacement(self, character: char) -> Option<Replacement> {
        if let Some((_, text)) = PUNCTUATION.iter().find(|(characters, _)| characters.contains(character)) {
            return Some(Replacement::Text(text));
        }
        if ('\u{ff01}'..='\u{ff5e}').contains(&character) {
            return char::from_u32(u32::from(character) - FULL_WIDTH).map(Replacement::Character);
        }
        let letters = LETTERS.iter().filter(|_| self == Self::All);
        letters
            .into_iter()
            .find(|(accented, _)| accented.contains(character))
            .map(|(_, text)| Replacement::Text(text))
    }
}

enum Replacement {
    Text(&'static str),
    Character(char),
}

/// Why a choice can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be none, punctuation or all")]
pub struct NotAChoice;

impl FromStr for SmartEncoding {
    type Err = NotAChoice;

    fn from_str(word: &str) -> Result<Self, NotAChoice> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == word).ok_or(NotAChoice)
    }
}

/// How far the full-width forms of ASCII's characters are from these.
const FULL_WIDTH: u32 = 0xfee0;

/// Characters with what is sent in their place.
const PUNCTUATION: &[(&str, &str)] = &[
    ("“”„‟«»ʺˮ❝❞〝〞", "\""),
    ("‘’‛ʻʼʽˈʹ´`ˊˋ❛❜′", "'"),
    ("‚、、，﹐﹑", ","),
    ("‹", "<"),
    ("›", ">"),
    ("‐‑‒–—―⁃•−﹣", "-"),
    ("…", "..."),
    ("‼", "!!"),
    ("¼", "1/4"),
    ("½", "1/2"),
    ("¾", "3/4"),
    ("÷⁄∕⧸", "/"),
    ("⧵⧹﹨", "\\"),
    ("∣⏐⎸⎹", "|"),
    ("⁎∗⊛✱✲✳✻✼✽❋", "*"),
    ("。．｡﹒", "."),
    ("ː˸꞉", ":"),
    ("⁏﹔", ";"),
    ("ˆ", "^"),
    ("˜∼", "~"),
    (
        "\u{a0}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{202f}\u{205f}\u{3000}\u{2028}\u{2029}\t",
        " ",
    ),
    ("\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}", ""),
];

/// Letters of Latin alphabets that GSM-7 lacks. What it has (é, ñ, ü, à, Ç and others) stays.
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
    fn typographic_characters_become_plain_ones() {
        let choice = SmartEncoding::Punctuation;
        check(choice, "“Don’t” – it’s\u{a0}due… – ‘now’", "\"Don't\" - it's due... - 'now'");
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
        // A back quote is no GSM-7, a plain quote is.
        check(SmartEncoding::Punctuation, "`a`", "'a'");
        check(SmartEncoding::All, "é ñ ü à ¿ ¡ Ç Ñ €", "é ñ ü à ¿ ¡ Ç Ñ €");
        check(SmartEncoding::None, "“a”", "“a”");
    }

    #[test]
    fn everything_that_is_replaced_is_not_gsm_7_and_its_replacement_is() {
        for (characters, text) in PUNCTUATION.iter().chain(LETTERS) {
            assert_eq!(segments::count(text).encoding, Encoding::Gsm7, "{text}");
            for character in characters.chars() {
                let encoding = segments::count(&character.to_string()).encoding;
                assert_eq!(encoding, Encoding::Ucs2, "{character} {:x}", u32::from(character));
            }
        }
    }
}
