//! Opt-out keywords, which Twilio handles for the account.
//!
//! <https://help.twilio.com/articles/223134027>, <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>

/// The effect of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Stop,
    Start,
    Help,
}

impl Keyword {
    /// Returns the value of the parameter `OptOutType`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Start => "START",
            Self::Help => "HELP",
        }
    }

    /// Returns the notice that Twilio sends to the handset.
    pub(crate) fn notice(self, toll_free: bool) -> &'static str {
        match (self, toll_free) {
            (Self::Stop, true) => {
                "NETWORK MSG: You replied with the word \"stop\" which blocks all texts sent from this number. \
                 Text back \"unstop\" to receive messages again."
            }
            (Self::Start, true) => {
                "NETWORK MSG: You have replied \"unstop\" and will begin receiving messages again from this number."
            }
            (Self::Stop, false) => {
                "You have successfully been unsubscribed. You will not receive any more messages from this number. \
                 Reply START to resubscribe."
            }
            (Self::Start, false) => {
                "You have successfully been re-subscribed to messages from this number. Reply HELP for help. \
                 Reply STOP to unsubscribe. Msg&Data Rates May Apply."
            }
            (Self::Help, _) => "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
        }
    }
}

/// Returns the keyword if `body` consists of nothing else. For toll-free numbers the carriers handle three keywords
/// only.
pub(crate) fn keyword_of(body: &str, toll_free: bool) -> Option<Keyword> {
    let word = body.trim().to_uppercase();
    match (word.as_str(), toll_free) {
        ("STOP", _) => Some(Keyword::Stop),
        ("START" | "UNSTOP", _) => Some(Keyword::Start),
        ("STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "OPTOUT" | "REVOKE", false) => {
            Some(Keyword::Stop)
        }
        ("YES", false) => Some(Keyword::Start),
        ("HELP" | "INFO", false) => Some(Keyword::Help),
        _ => None,
    }
}

/// Returns whether a phone number is a North American toll-free number.
pub(crate) fn is_toll_free(number: &str) -> bool {
    ["+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888"]
        .iter()
        .any(|code| number.starts_with(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_message_is_a_keyword() {
        assert_eq!(keyword_of(" stop\n", false), Some(Keyword::Stop));
        assert_eq!(keyword_of("Revoke", false), Some(Keyword::Stop));
        assert_eq!(keyword_of("yes", false), Some(Keyword::Start));
        assert_eq!(keyword_of("info", false), Some(Keyword::Help));
        assert_eq!(keyword_of("please stop", false), None);
        assert_eq!(keyword_of("QUIT", true), None);
        assert_eq!(keyword_of("unstop", true), Some(Keyword::Start));
        assert!(is_toll_free("+18885550100") && !is_toll_free("+12035550100"));
    }
}
