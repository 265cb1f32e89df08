//! What Twilio's error codes mean for a message: <https://www.twilio.com/docs/api/errors>.
//!
//! The classes are our reading. A code that isn't listed is [`ErrorClass::Unlisted`]: the message fails and keeps it.

/// What a code says about a message, and so what is to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Twilio did not process the request: try again with backoff.
    NotProcessed,
    /// The sender's queue at Twilio is full: not processed, and neither is anything else from that sender for now.
    SenderQueueFull,
    /// Twilio may have taken the message or not: never send it again blindly.
    Ambiguous,
    /// The carrier's or the handset's trouble of the moment: a capped number of new attempts.
    Transient,
    /// A limit or a rule of the hour: wait for its window.
    WaitForWindow,
    /// This recipient can't get it, now or ever.
    Recipient,
    /// This recipient has opted out: to be recorded as such.
    OptedOut,
    /// This text or file can't be sent to anybody.
    Content,
    /// Something is wrong with our account, number or credentials: somebody must act, and what waits must be held.
    Configuration,
    /// A code that this table doesn't know: as permanent as [`ErrorClass::Recipient`].
    Unlisted,
}

impl ErrorClass {
    /// Returns the class of a code.
    #[must_use]
    pub fn of(code: u32) -> Self {
        match code {
            20429 => Self::NotProcessed,
            21611 => Self::SenderQueueFull,
            20500 | 20503 => Self::Ambiguous,
            30001 | 30003 | 30008 | 30017 | 30022 | 30410 | 30500 => Self::Transient,
            14107 | 30023 | 63017 | 63018 | 63038 => Self::WaitForWindow,
            21610 => Self::OptedOut,
            21211 | 21408 | 21612 | 21614 | 30004..=30006 => Self::Recipient,
            21602 | 21617 | 21620 | 30007 | 30019 => Self::Content,
            20003 | 21603 | 21606 | 21701..=21705 | 30002 | 30032 | 30034 => Self::Configuration,
            // What Twilio says in place of 21606 since 2024, and for a sender that is no number at all:
            // https://www.twilio.com/docs/api/errors/21659 and the two after it.
            21212 | 21659..=21661 => Self::Configuration,
            _ => Self::Unlisted,
        }
    }

    /// Returns whether the message has failed for good.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        match self {
            Self::Recipient | Self::OptedOut | Self::Content | Self::Unlisted => true,
            Self::NotProcessed
            | Self::SenderQueueFull
            | Self::Ambiguous
            | Self::Transient
            | Self::WaitForWindow
            | Self::Configuration => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_its_class() {
        use ErrorClass::*;
        let table: [(ErrorClass, &[u32]); 10] = [
            (NotProcessed, &[20429]),
            (SenderQueueFull, &[21611]),
            (Ambiguous, &[20500, 20503]),
            (Transient, &[30001, 30003, 30008, 30017, 30022, 30410, 30500]),
            (WaitForWindow, &[30023, 63038, 63017, 63018, 14107]),
            (Recipient, &[21211, 21408, 21612, 21614, 30004, 30005, 30006]),
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
