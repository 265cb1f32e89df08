//! Classes of Twilio's error codes: <https://www.twilio.com/docs/api/errors>.
//!
//! Twilio documents the codes but not which can be retried; the classes are our interpretation. A message with a code
//! that is not listed here fails, and keeps the code.

use crate::domain::delivery_failure::RecipientEffect;

/// The class of an error code. It decides how to continue with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Twilio did not process the request. Retry with backoff.
    NotProcessed,
    /// The sender's queue at Twilio is full, so Twilio did not process the request. Pause the sender.
    SenderQueueFull,
    /// Twilio may have accepted the message. Do not send it again before that is resolved.
    Ambiguous,
    /// A temporary problem of the carrier or the handset. Create a new message a limited number of times.
    Transient,
    /// A limit or rule that applies for some hours. Retry later.
    WaitForWindow,
    /// This recipient cannot receive the message. Permanent.
    Recipient,
    /// The carrier blocks messages to this recipient. Permanent for this message; flag the conversation.
    CarrierBlocked,
    /// The recipient has opted out. Permanent; record the opt-out.
    OptedOut,
    /// The text or media cannot be sent to any recipient. Permanent.
    Content,
    /// Our account, number or credentials are wrong. Alert an operator and hold the sender's messages.
    Configuration,
    /// A code that is not in this table. Treated as permanent.
    Unlisted,
}

impl ErrorClass {
    /// Returns the class of an error code.
    #[must_use]
    pub fn of(code: u32) -> Self {
        match code {
            20429 => Self::NotProcessed,
            21611 => Self::SenderQueueFull,
            20500 | 20503 => Self::Ambiguous,
            30001 | 30003 | 30008 | 30017 | 30022 | 30410 | 30500 => Self::Transient,
            14107 | 30023 | 63017 | 63018 | 63038 => Self::WaitForWindow,
            21610 => Self::OptedOut,
            30004 => Self::CarrierBlocked,
            21211 | 21408 | 21612 | 21614 | 30005 | 30006 => Self::Recipient,
            21602 | 21617 | 21620 | 30007 | 30019 => Self::Content,
            20003 | 21603 | 21606 | 21701..=21705 | 30002 | 30032 | 30034 => Self::Configuration,
            // Twilio uses these in place of 21606 since 2024, and for a sender that is not a phone number:
            // https://www.twilio.com/docs/api/errors/21659 to 21661.
            21212 | 21659..=21661 => Self::Configuration,
            _ => Self::Unlisted,
        }
    }

    /// Returns what the class says about the recipient.
    #[must_use]
    pub fn recipient_effect(self) -> Option<RecipientEffect> {
        match self {
            Self::CarrierBlocked => Some(RecipientEffect::CarrierBlocked),
            Self::OptedOut => Some(RecipientEffect::OptedOut),
            Self::NotProcessed
            | Self::SenderQueueFull
            | Self::Ambiguous
            | Self::Transient
            | Self::WaitForWindow
            | Self::Recipient
            | Self::Content
            | Self::Configuration
            | Self::Unlisted => None,
        }
    }

    /// Returns whether the code means an unknown failure at the carrier, which is retried less often than other
    /// transient failures.
    pub(super) fn is_unknown_failure(code: u32) -> bool {
        code == 30008
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listed_code_has_its_class_and_others_are_unlisted() {
        use ErrorClass::*;
        let table: [(ErrorClass, &[u32]); 11] = [
            (NotProcessed, &[20429]),
            (SenderQueueFull, &[21611]),
            (Ambiguous, &[20500, 20503]),
            (Transient, &[30001, 30003, 30008, 30017, 30022, 30410, 30500]),
            (WaitForWindow, &[30023, 63038, 63017, 63018, 14107]),
            (Recipient, &[21211, 21408, 21612, 21614, 30005, 30006]),
            (CarrierBlocked, &[30004]),
            (OptedOut, &[21610]),
            (Content, &[21602, 21617, 21620, 30007, 30019]),
            (Configuration, &[20003, 30002, 21603, 21606, 21701, 21702, 21703, 21704, 21705, 30032, 30034]),
            (Configuration, &[21212, 21659, 21660, 21661]),
        ];
        for (class, codes) in table {
            for &code in codes {
                assert_eq!(ErrorClass::of(code), class, "{code}");
            }
        }
        assert_eq!([0, 21658, 99999].map(ErrorClass::of), [Unlisted; 3]);
    }
}
