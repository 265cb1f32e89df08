//! Phone numbers in E.164 format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::last_four;

/// The maximum number of digits in ITU-T E.164, including the country code.
const MAX_DIGITS: usize = 15;
/// The minimum number of digits. No numbering plan has shorter numbers (Iran, Austria and Germany have some of 6).
const MIN_DIGITS: usize = 6;

/// A phone number in E.164 format: `+`, country code, national significant number.
///
/// Only the format is checked. [`NumberingPlan`](super::NumberingPlan) checks whether the number can exist; numbers
/// from Twilio do not need that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct E164(String);

/// The text is not in E.164 format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an E.164 number: a plus sign and {MIN_DIGITS} to {MAX_DIGITS} digits, the first not 0")]
pub struct NotE164;

impl E164 {
    /// Returns the number with its `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the digits with the country code, without the `+`.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    /// Returns the country calling code: `1`, `44`, `351`.
    #[must_use]
    pub fn country_code(&self) -> &str {
        &self.digits()[..country_code_length(self.digits())]
    }

    /// Returns the national significant number, which may start with 0 (Italy).
    #[must_use]
    pub fn national(&self) -> &str {
        &self.digits()[country_code_length(self.digits())..]
    }

    /// Returns the number in its country's current format, so that one handset has one conversation and one opt-out.
    ///
    /// Until August 2019, Mexico's mobile numbers had a 1 between the country code and the ten digits
    /// (<https://www.twilio.com/en-us/guidelines/mx/sms>). Some networks still send it. No Mexican number starts with
    /// 1, so this is unambiguous. Argentina's 9 and Brazil's ninth digit stay, because without them the number may be a
    /// landline.
    #[must_use]
    pub fn current(self) -> Self {
        match self.0.strip_prefix("+521") {
            Some(digits) if digits.len() == 10 => Self(format!("+52{digits}")),
            _ => self,
        }
    }

    /// Returns the last four digits. Logs must not contain more of a number.
    #[must_use]
    pub fn last_four(&self) -> &str {
        last_four(&self.0)
    }

    /// Returns the spellings under which another service may store the number, without duplicates: as received, E.164,
    /// national significant number, digits with country code.
    #[must_use]
    pub fn lookup_variants(&self, as_received: &str) -> Vec<String> {
        let mut variants = Vec::with_capacity(4);
        for spelling in [as_received, self.as_str(), self.national(), self.digits()] {
            if !spelling.is_empty() && !variants.iter().any(|known| known == spelling) {
                variants.push(spelling.to_owned());
            }
        }
        variants
    }
}

impl FromStr for E164 {
    type Err = NotE164;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for E164 {
    type Error = NotE164;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.strip_prefix('+').ok_or(NotE164)?.as_bytes();
        let well_formed = (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
            && digits[0] != b'0'
            && digits.iter().all(u8::is_ascii_digit);
        if well_formed { Ok(Self(text)) } else { Err(NotE164) }
    }
}

impl From<E164> for String {
    fn from(number: E164) -> Self {
        number.0
    }
}

impl AsRef<str> for E164 {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E164(…{})", self.last_four())
    }
}

/// Returns the length of the country code.
///
/// Country codes are prefix-free: zones 1 and 7 have one digit, the pairs below two, and all others three digits (ITU-T
/// E.164 annex D, list of 2016-11-15).
const fn country_code_length(digits: &str) -> usize {
    match digits.as_bytes() {
        [b'1' | b'7', ..] => 1,
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn e164(text: &str) -> E164 {
        text.parse().unwrap()
    }

    #[test]
    fn the_country_code_is_split_off_without_a_numbering_plan() {
        for (text, country_code, national) in [
            ("+12035550123", "1", "2035550123"),
            ("+74951234567", "7", "4951234567"),
            ("+5511912345678", "55", "11912345678"),
            ("+351912345678", "351", "912345678"),
            ("+390612345678", "39", "0612345678"),
            ("+80012345678", "800", "12345678"),
        ] {
            let number = e164(text);
            assert_eq!((number.country_code(), number.national()), (country_code, national), "{text}");
        }
    }

    #[test]
    fn old_mexican_numbers_are_converted() {
        for (text, current) in [
            ("+5215512345678", "+525512345678"),
            ("+525512345678", "+525512345678"),
            ("+521551234567", "+521551234567"),
            ("+541112345678", "+541112345678"),
            ("+5491112345678", "+5491112345678"),
            ("+551187654321", "+551187654321"),
            ("+12035550123", "+12035550123"),
        ] {
            assert_eq!(e164(text).current(), e164(current), "{text}");
        }
    }

    #[test]
    fn what_is_not_e164_is_refused() {
        for text in [
            "",
            "+",
            "+12345",
            "12035550123",
            "+0123456789",
            "+1234567890123456",
            "+1 2035550123",
            " +12035550123",
            "+12035550123 ",
            "+1203555012x",
            "+１２０３５５５０１２３",
            "++2035550123",
            "40404",
        ] {
            assert_eq!(text.parse::<E164>(), Err(NotE164), "{text:?}");
        }
    }

    #[test]
    fn variants_are_in_order_and_unique() {
        let number = e164("+12035550123");
        assert_eq!(
            number.lookup_variants("(203) 555-0123"),
            ["(203) 555-0123", "+12035550123", "2035550123", "12035550123"]
        );
        assert_eq!(number.lookup_variants("+12035550123"), ["+12035550123", "2035550123", "12035550123"]);
        assert_eq!(number.lookup_variants("12035550123"), ["12035550123", "+12035550123", "2035550123"]);
    }

    #[test]
    fn debug_output_hides_most_of_the_number() {
        assert_eq!(format!("{:?}", e164("+12035550123")), "E164(…0123)");
    }

    #[test]
    fn json_is_validated_too() {
        assert_eq!(serde_json::to_string(&e164("+12035550123")).unwrap(), r#""+12035550123""#);
        assert!(serde_json::from_str::<E164>(r#""2035550123""#).is_err());
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_it_back(text in "\\+[1-9][0-9]{5,14}") {
            let number = e164(&text);
            prop_assert_eq!(number.as_str(), &text);
            prop_assert_eq!(format!("+{}{}", number.country_code(), number.national()), text);
        }

        #[test]
        fn any_text_is_refused_or_kept_as_it_is(text in "\\PC{0,20}|\\+?[0-9]{0,17}") {
            if let Ok(number) = text.parse::<E164>() {
                prop_assert_eq!(number.as_str(), text);
            }
        }
    }
}
