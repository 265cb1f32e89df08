//! Our senders: phone numbers, and messaging services, which choose one of their numbers.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The sender of an outbound message. Its text is the same in the configuration, the queue, the database and the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Sender {
    /// A phone number in E.164, or a short code.
    Number(String),
    /// The SID of a messaging service, `MG…`.
    MessagingService(String),
}

impl Sender {
    /// Returns the number or the SID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Number(text) | Self::MessagingService(text) => text,
        }
    }

    /// Returns the number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        match self {
            Self::Number(number) => Some(number),
            Self::MessagingService(_) => None,
        }
    }

    /// Returns the SID of the messaging service, if it is one.
    #[must_use]
    pub fn messaging_service_sid(&self) -> Option<&str> {
        match self {
            Self::Number(_) => None,
            Self::MessagingService(sid) => Some(sid),
        }
    }
}

/// Numbers consist of digits and a plus sign, so the prefix `MG` is unambiguous.
impl From<String> for Sender {
    fn from(text: String) -> Self {
        if text.starts_with("MG") { Self::MessagingService(text) } else { Self::Number(text) }
    }
}

impl From<&str> for Sender {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Sender> for String {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Number(text) | Sender::MessagingService(text) => text,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_sender_decides_its_kind() {
        for (text, number, service) in [
            ("+12035550100", Some("+12035550100"), None),
            ("74637", Some("74637"), None),
            ("MG9752274e9e519418a7406176694466fa", None, Some("MG9752274e9e519418a7406176694466fa")),
        ] {
            let sender = Sender::from(text);
            assert_eq!((sender.number(), sender.messaging_service_sid()), (number, service));
            let json = serde_json::to_string(&sender).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Sender>(&json).unwrap(), sender);
        }
    }
}
