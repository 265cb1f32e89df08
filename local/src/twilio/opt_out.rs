//! Opt-out words, as Twilio handles them on the customer's behalf.
//!
//! <https://help.twilio.com/articles/223134027>, <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>

/// What a word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Stop,
    Start,
    Help,
}

impl Keyword {
    /// The value of `OptOutType`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Start => "START",
            Self::Help => "HELP",
        }
    }

    /// What Twilio answers with when the word changes something.
    pub(super) fn notice(self, toll_free: bool) -> &'static str {
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

/// The keyword that `body` is as a whole; on toll-free numbers the carriers know three words only.
pub(super) fn keyword(body: &str, toll_free: bool) -> Option<Keyword> {
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

/// Whether a number is a North American toll-free one.
pub(super) fn is_toll_free(number: &str) -> bool {
    ["+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888"]
        .iter()
        .any(|code| number.starts_with(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_message_is_a_keyword() {
        assert_eq!(keyword(" stop\n", false), Some(Keyword::Stop));
        assert_eq!(keyword("Revoke", false), Some(Keyword::Stop));
        assert_eq!(keyword("yes", false), Some(Keyword::Start));
        assert_eq!(keyword("info", false), Some(Keyword::Help));
        assert_eq!(keyword("please stop", false), None);
        assert_eq!(keyword("QUIT", true), None);
        assert_eq!(keyword("unstop", true), Some(Keyword::Start));
        assert!(is_toll_free("+18885550100") && !is_toll_free("+12035550100"));
    }
}
