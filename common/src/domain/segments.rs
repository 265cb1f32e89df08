//! Counts SMS segments and selects the encoding.
//!
//! A text is sent as GSM-7 if all its characters are in the GSM 03.38 default alphabet or its extension table. One
//! other character makes the whole text UCS-2, with less than half the characters per segment. Rules:
//! <https://www.twilio.com/docs/glossary/what-sms-character-limit>.

use serde::Serialize;

use super::named::named_enum;

/// Septets in a single segment: 140 bytes hold 160 times 7 bits.
const GSM7_SINGLE: usize = 160;
/// Septets in each of several segments: the 6-byte concatenation header takes 7 septets.
const GSM7_CONCATENATED: usize = 153;
/// UTF-16 code units in a single segment: half of 140 bytes.
const UCS2_SINGLE: usize = 70;
/// UTF-16 code units in each of several segments: half of the 134 bytes after the concatenation header.
const UCS2_CONCATENATED: usize = 67;

named_enum! {
    /// The encoding of a text.
    pub enum Encoding: "an encoding" {
        /// The GSM 03.38 default alphabet with its extension table, 7 bits per unit.
        Gsm7 = "GSM-7",
        /// UTF-16, 16 bits per unit.
        Ucs2 = "UCS-2",
    }
}

impl Encoding {
    const fn limits(self) -> Limits {
        match self {
            Self::Gsm7 => Limits { single: GSM7_SINGLE, concatenated: GSM7_CONCATENATED },
            Self::Ucs2 => Limits { single: UCS2_SINGLE, concatenated: UCS2_CONCATENATED },
        }
    }
}

struct Limits {
    single: usize,
    concatenated: usize,
}

/// The number of segments of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segments {
    /// The encoding of the whole text.
    pub encoding: Encoding,
    /// The number of billed segments, at least one, also for an empty text.
    pub segments: usize,
    /// Septets in GSM-7 (two for a character of the extension table), UTF-16 code units in UCS-2.
    pub units: usize,
}

/// Counts the segments of a text without changing it.
///
/// A character of two units is never split between segments, so a segment may have one unit less. Grapheme clusters may
/// be split. Twilio's web calculator does not split them and shows one segment more for some long rows of emoji.
#[must_use]
pub fn count(body: &str) -> Segments {
    // Counts both encodings in one pass, because only the end of the text shows whether it is GSM-7.
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

/// Fills segments character by character.
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

/// Returns the number of septets of a character in GSM-7, or `None` if the alphabet lacks it.
const fn septets(character: char) -> Option<usize> {
    match character {
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' | '\u{c}' => Some(2),
        // The rest of ASCII, without the backtick and control characters.
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
    fn the_default_alphabet_is_that_of_gsm_03_38() {
        // Table 6.2.1 in order, without the escape at 0x1B.
        let basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        assert_eq!(basic.chars().count(), 127);
        assert_eq!(cost(basic), ("GSM-7", 1, 127));
        assert_eq!(cost("\u{c}^{}\\[~]|€"), ("GSM-7", 1, 20));
    }

    #[test]
    fn one_character_outside_the_alphabet_makes_the_text_ucs2() {
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
        fn ucs2_units_are_utf16_code_units(body in "\\PC{0,200}á") {
            let counted = count(&body);
            prop_assert_eq!(counted.encoding, Encoding::Ucs2);
            prop_assert_eq!(counted.units, body.encode_utf16().count());
        }

        #[test]
        fn each_segment_wastes_at_most_one_unit(body in "[a-z€\\[ ]{0,700}|\\PC{0,300}") {
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
