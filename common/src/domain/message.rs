//! A message, its states and the order in which they may follow each other.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Where a message stands.
///
/// Twilio's words, with three of ours: `received` for what came in, `pending` for what Twilio has not been asked to
/// send yet, and `unknown` when it can't be told whether Twilio took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// An inbound message.
    Received,
    /// Stored, and not handed to Twilio.
    Pending,
    /// Handed over with an unknown outcome.
    Unknown,
    /// Taken by Twilio.
    Queued,
    /// On its way from Twilio to the carrier.
    Sending,
    /// Taken by the carrier.
    Sent,
    /// On the handset.
    Delivered,
    /// Seen by its reader (channels that tell).
    Read,
    /// Not sent.
    Failed,
    /// Sent, and not delivered.
    Undelivered,
    /// Canceled before it was sent.
    Canceled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::Received,
        Self::Pending,
        Self::Unknown,
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Failed,
        Self::Undelivered,
        Self::Canceled,
    ];

    /// Returns the status as columns and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Undelivered => "undelivered",
            Self::Canceled => "canceled",
        }
    }

    /// Reads a status of Twilio's: `accepted` and `scheduled` rank as queued; those that say nothing about an
    /// outbound message's way (`partially_delivered`, words of the future) are `None`, and change nothing.
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

    /// Tells whether nothing but `read` after `delivered` may follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Read | Self::Failed | Self::Undelivered | Self::Canceled)
    }

    /// Returns how far a message has come; `unknown` lies below all that Twilio says, which settles it.
    fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Unknown => 1,
            Self::Queued => 2,
            Self::Sending => 3,
            Self::Sent => 4,
            Self::Delivered | Self::Failed | Self::Undelivered | Self::Canceled => 5,
            Self::Read => 6,
            // Inbound messages have arrived: no callback changes them.
            Self::Received => u8::MAX,
        }
    }

    /// Tells whether a message in this status moves on to `next`: forward only, and the first final status stays,
    /// except that `read` may follow `delivered`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        if self == Self::Delivered {
            return next == Self::Read;
        }
        !self.is_final() && self.rank() < next.rank() && next != Self::Received
    }

    /// Tells whether a callback that says `next` contradicts what is known: two different ends of one message.
    #[must_use]
    pub fn is_contradicted_by(self, next: Self) -> bool {
        let same_end = matches!((self, next), (Self::Delivered, Self::Read) | (Self::Read, Self::Delivered));
        self.is_final() && next.is_final() && self != next && !same_end
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no status.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a message status")]
pub struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == word);
        found.ok_or_else(|| UnknownStatus(word.to_owned()))
    }
}

/// How urgent a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before everything else, and in quiet hours too.
    Urgent,
    /// In its turn.
    #[default]
    Normal,
    /// When nothing else waits.
    Bulk,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// Returns the priority as columns and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::*;

    #[test]
    fn every_status_is_read_as_it_is_written() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
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
    fn inbound_messages_have_arrived() {
        for status in Status::ALL {
            assert!(!Received.may_become(status));
            assert!(!status.may_become(Received));
        }
    }

    #[test]
    fn two_different_ends_contradict_each_other() {
        assert!(Delivered.is_contradicted_by(Failed));
        assert!(Undelivered.is_contradicted_by(Delivered));
        assert!(Failed.is_contradicted_by(Read));
        assert!(!Delivered.is_contradicted_by(Read));
        assert!(!Read.is_contradicted_by(Delivered));
        assert!(!Delivered.is_contradicted_by(Sent));
        assert!(!Sent.is_contradicted_by(Delivered));
    }

    #[test]
    fn twilios_words_are_ranked_or_ignored() {
        assert_eq!(Status::from_twilio("accepted"), Some(Queued));
        assert_eq!(Status::from_twilio("scheduled"), Some(Queued));
        assert_eq!(Status::from_twilio("partially_delivered"), None);
        assert_eq!(Status::from_twilio("unknown"), None);
        assert_eq!(Status::from_twilio("teleported"), None);
    }
}
