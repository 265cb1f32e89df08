//! Twilio's ids (SIDs). Separate types, so that one cannot be passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A SID is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SID must not be empty")]
pub struct EmptySid;

macro_rules! sids {
    ($($(#[$meta:meta])* $sid:ident;)+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            #[serde(try_from = "String", into = "String")]
            pub struct $sid(String);

            impl $sid {
                /// Returns the text.
                #[must_use]
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl TryFrom<String> for $sid {
                type Error = EmptySid;

                fn try_from(text: String) -> Result<Self, Self::Error> {
                    if text.is_empty() { Err(EmptySid) } else { Ok(Self(text)) }
                }
            }

            impl FromStr for $sid {
                type Err = EmptySid;

                fn from_str(text: &str) -> Result<Self, Self::Err> {
                    text.to_owned().try_into()
                }
            }

            impl From<$sid> for String {
                fn from(sid: $sid) -> Self {
                    sid.0
                }
            }

            impl PartialEq<str> for $sid {
                fn eq(&self, text: &str) -> bool {
                    self.0 == text
                }
            }

            impl PartialEq<&str> for $sid {
                fn eq(&self, text: &&str) -> bool {
                    self.0 == *text
                }
            }

            impl fmt::Display for $sid {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }

            impl fmt::Debug for $sid {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Debug::fmt(&self.0, f)
                }
            }
        )+
    };
}

sids! {
    /// The SID of a message, normally `SM` or `MM` and 32 hexadecimal digits. Any text that is not empty is accepted,
    /// because Twilio does not guarantee the format and a message must not be lost because of its SID.
    MessageSid;
    /// The SID of a Twilio account, normally `AC` and 32 hexadecimal digits.
    AccountSid;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_but_the_empty_one_is_a_sid() {
        for text in ["SM9752274e9e519418a7406176694466fa", "SM1", "40404", " ", "é"] {
            let sid: MessageSid = text.parse().unwrap();
            assert_eq!((sid.as_str(), sid.to_string().as_str()), (text, text));
            assert_eq!(format!("{sid:?}"), format!("{text:?}"));
        }
        assert_eq!("".parse::<MessageSid>(), Err(EmptySid));
        assert_eq!("".parse::<AccountSid>(), Err(EmptySid));
    }

    #[test]
    fn the_json_of_a_sid_is_its_text() {
        let sid: MessageSid = "SM1".parse().unwrap();
        assert_eq!(serde_json::to_string(&sid).unwrap(), r#""SM1""#);
        assert_eq!(serde_json::from_str::<MessageSid>(r#""SM1""#).unwrap(), sid);
        assert!(serde_json::from_str::<MessageSid>(r#""""#).is_err());
    }
}
