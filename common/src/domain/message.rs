//! The direction, status and priority of a message, and the outcomes of its attempts.

use super::named::named_enum;

named_enum! {
    /// The direction of a message.
    pub enum Direction: "a direction" {
        /// Received.
        Inbound = "inbound",
        /// Sent.
        Outbound = "outbound",
    }
}

named_enum! {
    /// The status of a message.
    ///
    /// Twilio's statuses and three more: `received` for inbound messages, `pending` for messages that were not handed
    /// to Twilio yet, and `unknown` if it is not known whether Twilio accepted the message.
    pub enum Status: "a message status" {
        /// An inbound message.
        Received = "received",
        /// Stored, not handed to Twilio yet.
        Pending = "pending",
        /// Handed to Twilio with an unknown outcome.
        Unknown = "unknown",
        /// Accepted by Twilio.
        Queued = "queued",
        /// Being sent from Twilio to the carrier.
        Sending = "sending",
        /// Accepted by the carrier.
        Sent = "sent",
        /// Delivered to the handset.
        Delivered = "delivered",
        /// Read by the recipient (only on channels that report it).
        Read = "read",
        /// Not sent.
        Failed = "failed",
        /// Sent but not delivered.
        Undelivered = "undelivered",
        /// Canceled before it was sent.
        Canceled = "canceled",
    }
}

impl Status {
    /// Parses a status of Twilio. `accepted` and `scheduled` count as queued. Statuses without a meaning for an
    /// outbound SMS (`partially_delivered`, future ones) are `None` and change nothing.
    #[must_use]
    pub fn from_twilio(word: &str) -> Option<Self> {
        match word {
            "accepted" | "scheduled" | "queued" => Some(Self::Queued),
            "sending" => Some(Self::Sending),
            "sent" => Some(Self::Sent),
            "delivered" => Some(Self::Delivered),
            "read" => Some(Self::Read),
            "failed" => Some(Self::Failed),
            "undelivered" => Some(Self::Undelivered),
            "canceled" => Some(Self::Canceled),
            _ => None,
        }
    }

    /// Returns whether the status is final. Only `read` may follow `delivered`.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Read | Self::Failed | Self::Undelivered | Self::Canceled)
    }

    /// Returns the position in the order of statuses. `unknown` is below all of Twilio's, because these resolve it.
    fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Unknown => 1,
            Self::Queued => 2,
            Self::Sending => 3,
            Self::Sent => 4,
            Self::Delivered | Self::Failed | Self::Undelivered | Self::Canceled => 5,
            Self::Read => 6,
            // Callbacks never change inbound messages.
            Self::Received => u8::MAX,
        }
    }

    /// Returns whether a message may change to `next`: only forward. The first final status stays, except that `read`
    /// may follow `delivered`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        if self == Self::Delivered {
            return next == Self::Read;
        }
        !self.is_final() && self.rank() < next.rank() && next != Self::Received
    }

    /// Returns whether `next` contradicts this status: both are final and different.
    #[must_use]
    pub fn is_contradicted_by(self, next: Self) -> bool {
        let same_end = matches!((self, next), (Self::Delivered, Self::Read) | (Self::Read, Self::Delivered));
        self.is_final() && next.is_final() && self != next && !same_end
    }
}

named_enum! {
    /// The priority of a message.
    #[derive(Default, PartialOrd, Ord)]
    pub enum Priority: "a priority" {
        /// Sent before all others, and during quiet hours.
        Urgent = "urgent",
        /// The default.
        #[default]
        Normal = "normal",
        /// Sent when nothing else is due.
        Bulk = "bulk",
    }
}

named_enum! {
    /// What an outbound message is for. Quiet hours depend on it.
    #[derive(Default)]
    pub enum Purpose: "a purpose" {
        /// About the tenancy: rent, repairs, appointments.
        #[default]
        Service = "service",
        /// Advertisement.
        Marketing = "marketing",
        /// A danger to life or property. Quiet hours do not apply.
        Emergency = "emergency",
    }
}

named_enum! {
    /// The outcome of an attempt to send a message.
    pub enum AttemptOutcome: "the outcome of an attempt" {
        /// Twilio accepted the message.
        Accepted = "accepted",
        /// Twilio certainly did not process it.
        NotProcessed = "not_processed",
        /// Twilio rejected it.
        Rejected = "rejected",
        /// It is not known whether Twilio accepted it.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::*;

    #[test]
    fn every_status_is_parsed_from_its_name() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        let error = "lost".parse::<Status>().unwrap_err();
        assert_eq!(error.to_string(), "\"lost\" is not a message status");
    }

    #[test]
    fn a_status_only_moves_forward() {
        let ladder = [Pending, Unknown, Queued, Sending, Sent, Delivered, Read];
        for (i, from) in ladder.into_iter().enumerate() {
            for (j, to) in ladder.into_iter().enumerate() {
                assert_eq!(from.may_become(to), i < j, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn the_first_final_status_stays_except_that_read_follows_delivered() {
        for end in [Read, Failed, Undelivered, Canceled] {
            for next in Status::ALL {
                assert!(!end.may_become(next), "{end} -> {next}");
            }
        }
        assert!(Delivered.may_become(Read));
        assert!(!Delivered.may_become(Failed));
        for end in [Delivered, Failed, Undelivered, Canceled] {
            for from in [Pending, Unknown, Queued, Sending, Sent] {
                assert!(from.may_become(end), "{from} -> {end}");
            }
        }
    }

    #[test]
    fn the_status_of_inbound_messages_never_changes() {
        for status in Status::ALL {
            assert!(!Received.may_become(status));
            assert!(!status.may_become(Received));
        }
    }

    #[test]
    fn two_different_final_statuses_contradict_each_other() {
        assert!(Delivered.is_contradicted_by(Failed));
        assert!(Undelivered.is_contradicted_by(Delivered));
        assert!(Failed.is_contradicted_by(Read));
        assert!(!Delivered.is_contradicted_by(Read));
        assert!(!Read.is_contradicted_by(Delivered));
        assert!(!Delivered.is_contradicted_by(Sent));
        assert!(!Sent.is_contradicted_by(Delivered));
    }

    #[test]
    fn twilio_statuses_are_mapped_or_ignored() {
        assert_eq!(Status::from_twilio("accepted"), Some(Queued));
        assert_eq!(Status::from_twilio("scheduled"), Some(Queued));
        assert_eq!(Status::from_twilio("partially_delivered"), None);
        assert_eq!(Status::from_twilio("unknown"), None);
        assert_eq!(Status::from_twilio("teleported"), None);
    }
}
