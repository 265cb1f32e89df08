//! How many SMS segments a text costs, and in which alphabet.
//!
//! A text whose every character is in the GSM 03.38 default alphabet (or its extension table) travels as GSM-7;
//! one character outside makes all of it UCS-2, at less than half the room. The rules are those of
//! <https://www.twilio.com/docs/glossary/what-sms-character-limit>.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

/// Septets in a message of one segment: 140 bytes of user data hold 160 times 7 bits.
const GSM7_SINGLE: usize = 160;
/// Septets in each of several segments: the 6-byte concatenation header takes the room of 7.
const GSM7_CONCATENATED: usize = 153;
/// UTF-16 units in a message of one segment: half of 140 bytes.
const UCS2_SINGLE: usize = 70;
/// UTF-16 units in each of several segments: 134 bytes are left beside the header.
const UCS2_CONCATENATED: usize = 67;

/// The alphabet a text is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub enum Encoding {
    /// The GSM 03.38 default alphabet with its extension table, 7 bits a unit.
    #[serde(rename = "GSM-7")]
    Gsm7,
    /// UTF-16, 16 bits a unit.
    #[serde(rename = "UCS-2")]
    Ucs2,
}

impl Encoding {
    /// Returns the name that the API shows: `GSM-7` or `UCS-2`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }

    const fn limits(self) -> Limits {
        match self {
            Self::Gsm7 => Limits { single: GSM7_SINGLE, concatenated: GSM7_CONCATENATED },
            Self::Ucs2 => Limits { single: UCS2_SINGLE, concatenated: UCS2_CONCATENATED },
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Limits {
    single: usize,
    concatenated: usize,
}

/// What a text costs to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segments {
    /// The alphabet the whole text is sent in.
    pub encoding: Encoding,
    /// How many segments are billed: at least one, an empty text is a message too.
    pub segments: usize,
    /// Septets in GSM-7 (two for a character of the extension table), UTF-16 units in UCS-2.
    pub units: usize,
}

/// Counts the segments of a text as it stands: nothing is trimmed, no curly quote is straightened.
///
/// A character that takes two units is never split over two segments, so a segment may end one unit early.
/// Grapheme clusters are split where the units run out; Twilio's web calculator keeps them whole and so shows
/// a segment more for some long rows of emoji, the handset does not need it to.
#[must_use]
pub fn count(body: &str) -> Segments {
    // Both alphabets in one pass: whether the text is GSM-7 is known only at its end.
    let mut gsm7 = Some(Packer::new(Encoding::Gsm7.limits()));
    let mut ucs2 = Packer::new(Encoding::Ucs2.limits());
    for character in body.chars() {
        match (gsm7.as_mut(), septets(character)) {
            (Some(packer), Some(width)) => packer.push(width),
            _ => gsm7 = None,
        }
        ucs2.push(character.len_utf16());
    }
    match gsm7 {
        Some(packer) => packer.finish(Encoding::Gsm7),
        None => ucs2.finish(Encoding::Ucs2),
    }
}

/// Fills segments one character at a time.
struct Packer {
    limits: Limits,
    units: usize,
    full_segments: usize,
    in_segment: usize,
}

impl Packer {
    const fn new(limits: Limits) -> Self {
        Self { limits, units: 0, full_segments: 0, in_segment: 0 }
    }

    const fn push(&mut self, width: usize) {
        self.units += width;
        if self.in_segment + width > self.limits.concatenated {
            self.full_segments += 1;
            self.in_segment = 0;
        }
        self.in_segment += width;
    }

    const fn finish(self, encoding: Encoding) -> Segments {
        let segments = if self.units <= self.limits.single { 1 } else { self.full_segments + 1 };
        Segments { encoding, segments, units: self.units }
    }
}

/// Returns how many septets a character takes in GSM-7, or nothing when the alphabet lacks it.
const fn septets(character: char) -> Option<usize> {
    match character {
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' | '\u{c}' => Some(2),
        // What is left of ASCII, without the backtick and the control characters.
        '\n' | '\r' | ' '..='_' | 'a'..='z' => Some(1),
        '¡' | '£' | '¤' | '¥' | '§' | '¿' | 'Ä' | 'Å' | 'Æ' | 'Ç' | 'É' | 'Ñ' | 'Ö' | 'Ø' | 'Ü' | 'ß'
        | 'à' | 'ä' | 'å' | 'æ' | 'è' | 'é' | 'ì' | 'ñ' | 'ò' | 'ö' | 'ø' | 'ù' | 'ü' => Some(1),
        'Γ' | 'Δ' | 'Θ' | 'Λ' | 'Ξ' | 'Π' | 'Σ' | 'Φ' | 'Ψ' | 'Ω' => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cost(body: &str) -> (&'static str, usize, usize) {
        let Segments { encoding, segments, units } = count(body);
        (encoding.as_str(), segments, units)
    }

    #[test]
    fn an_empty_text_is_one_segment() {
        assert_eq!(cost(""), ("GSM-7", 1, 0));
    }

    #[test]
    fn the_default_alphabet_is_the_one_of_gsm_03_38() {
        // Table 6.2.1 in its own order, without the escape at 0x1B.
        let basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        assert_eq!(basic.chars().count(), 127);
        assert_eq!(cost(basic), ("GSM-7", 1, 127));
        assert_eq!(cost("\u{c}^{}\\[~]|€"), ("GSM-7", 1, 20));
    }

    #[test]
    fn one_character_outside_turns_the_whole_text_to_ucs2() {
        assert_eq!(cost("señor, ¿qué?"), ("GSM-7", 1, 12));
        for outside in ["á", "í", "ó", "ú", "ã", "õ", "ç", "“", "’", "`", "\t", "\0", "\u{1b}"] {
            assert_eq!(cost(&format!("ok {outside}")), ("UCS-2", 1, 4), "{outside:?}");
        }
    }

    #[test]
    fn the_limits_are_160_and_153_septets() {
        assert_eq!(cost(&"a".repeat(160)), ("GSM-7", 1, 160));
        assert_eq!(cost(&"a".repeat(161)), ("GSM-7", 2, 161));
        assert_eq!(cost(&"a".repeat(306)), ("GSM-7", 2, 306));
        assert_eq!(cost(&"a".repeat(307)), ("GSM-7", 3, 307));
    }

    #[test]
    fn the_limits_are_70_and_67_utf16_units() {
        assert_eq!(cost(&"á".repeat(70)), ("UCS-2", 1, 70));
        assert_eq!(cost(&"á".repeat(71)), ("UCS-2", 2, 71));
        assert_eq!(cost(&"á".repeat(134)), ("UCS-2", 2, 134));
        assert_eq!(cost(&"á".repeat(135)), ("UCS-2", 3, 135));
    }

    #[test]
    fn a_character_of_two_septets_is_not_split() {
        let fits = format!("{}€{}", "a".repeat(151), "a".repeat(153));
        assert_eq!(cost(&fits), ("GSM-7", 2, 306));
        let moves = format!("{}€{}", "a".repeat(152), "a".repeat(152));
        assert_eq!(cost(&moves), ("GSM-7", 3, 306));
    }

    #[test]
    fn a_surrogate_pair_is_not_split() {
        let fits = format!("{}🏠{}", "á".repeat(65), "á".repeat(67));
        assert_eq!(cost(&fits), ("UCS-2", 2, 134));
        let moves = format!("{}🏠{}", "á".repeat(66), "á".repeat(66));
        assert_eq!(cost(&moves), ("UCS-2", 3, 134));
    }

    proptest! {
        #[test]
        fn the_units_of_ucs2_are_those_of_utf16(body in "\\PC{0,200}á") {
            let counted = count(&body);
            prop_assert_eq!(counted.encoding, Encoding::Ucs2);
            prop_assert_eq!(counted.units, body.encode_utf16().count());
        }

        #[test]
        fn segments_hold_the_units_and_waste_at_most_one_each(body in "[a-z€\\[ ]{0,700}|\\PC{0,300}") {
            let Segments { encoding, segments, units } = count(&body);
            let Limits { single, concatenated } = encoding.limits();
            if units <= single {
                prop_assert_eq!(segments, 1);
            } else {
                prop_assert!(segments * concatenated >= units);
                prop_assert!((segments - 1) * (concatenated - 1) < units);
            }
        }
    }
}
