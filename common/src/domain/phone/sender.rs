//! The sender of an inbound message, which may not be a phone number.

use std::fmt;

use super::{E164, last_four};

/// The `From` of an inbound message, as received except for numbers in an outdated format.
///
/// Parsing never fails, so that no message is lost because of an unusual sender.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InboundSender {
    /// A phone number. Only these can receive replies.
    Number(E164),
    /// A short code: three to eight digits without a plus sign.
    ShortCode(String),
    /// An alphanumeric sender id: up to eleven letters, digits and spaces, such as `TWILIO`.
    Alphanumeric(String),
    /// Anything else, such as `whatsapp:+12035550123`.
    Other(String),
}

impl InboundSender {
    /// Parses the `From` of a webhook by its format, and converts numbers to their current format.
    #[must_use]
    pub fn from_twilio(from: &str) -> Self {
        match Self::from_canonical(from) {
            Self::Number(number) => Self::Number(number.current()),
            other => other,
        }
    }

    /// Parses the key of a stored conversation, unchanged.
    ///
    /// Short codes have 5 or 6 digits in the US and 3 to 8 elsewhere; alphanumeric sender ids are described at
    /// <https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id>.
    #[must_use]
    pub fn from_canonical(text: &str) -> Self {
        if let Ok(number) = text.parse() {
            return Self::Number(number);
        }
        let text = text.to_owned();
        if (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::ShortCode(text)
        } else if is_alphanumeric_id(&text) {
            Self::Alphanumeric(text)
        } else {
            Self::Other(text)
        }
    }

    /// Returns the key of the conversation with this sender.
    #[must_use]
    pub fn canonical(&self) -> &str {
        match self {
            Self::Number(number) => number.as_str(),
            Self::ShortCode(text) | Self::Alphanumeric(text) | Self::Other(text) => text,
        }
    }

    /// Returns the phone number, if the sender has one. Replies and tenant lookups need it.
    #[must_use]
    pub const fn number(&self) -> Option<&E164> {
        match self {
            Self::Number(number) => Some(number),
            Self::ShortCode(_) | Self::Alphanumeric(_) | Self::Other(_) => None,
        }
    }

    /// Returns the last four characters. Logs must not contain more of the sender.
    #[must_use]
    pub fn last_four(&self) -> &str {
        last_four(self.canonical())
    }
}

impl fmt::Debug for InboundSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Number(_) => "Number",
            Self::ShortCode(_) => "ShortCode",
            Self::Alphanumeric(_) => "Alphanumeric",
            Self::Other(_) => "Other",
        };
        write!(f, "{kind}(…{})", self.last_four())
    }
}

fn is_alphanumeric_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte);
    text.len() <= 11 && text.bytes().all(allowed) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn senders_are_distinguished_by_format() {
        for (from, expected) in [
            ("+12035550123", "Number(…0123)"),
            ("+5511912345678", "Number(…5678)"),
            ("+5215512345678", "Number(…5678)"),
            ("40404", "ShortCode(…0404)"),
            ("TWILIO", "Alphanumeric(…ILIO)"),
            ("Rent 2 Own", "Alphanumeric(… Own)"),
            ("2035550123", "Other(…0123)"),
            ("whatsapp:+12035550123", "Other(…0123)"),
            ("", "Other(…)"),
        ] {
            assert_eq!(format!("{:?}", InboundSender::from_twilio(from)), expected, "{from:?}");
        }
    }

    #[test]
    fn only_a_phone_number_has_a_number() {
        assert!(InboundSender::from_twilio("+12035550123").number().is_some());
        assert!(InboundSender::from_twilio("40404").number().is_none());
        assert!(InboundSender::from_twilio("TWILIO").number().is_none());
    }

    #[test]
    fn a_stored_sender_is_not_converted_again() {
        let stored = "+5215512345678";
        assert_eq!(InboundSender::from_canonical(stored).canonical(), stored);
        assert_eq!(InboundSender::from_twilio(stored).canonical(), "+525512345678");
    }

    proptest! {
        #[test]
        fn every_sender_is_kept_as_it_came(from in "\\PC{0,30}") {
            let sender = InboundSender::from_twilio(&from);
            prop_assert_eq!(sender.canonical(), &from.parse::<E164>().map_or(from.clone(),
                |e164| e164.current().into()));
            prop_assert_eq!(&InboundSender::from_twilio(sender.canonical()), &sender);
        }
    }
}
