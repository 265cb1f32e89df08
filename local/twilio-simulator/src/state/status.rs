//! Message statuses.

use serde::{Deserialize, Serialize};

/// The status of a Message resource. `sending`, `receiving`, `read` and `partially_delivered` do not occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Accepted,
    Scheduled,
    Queued,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Canceled,
    Received,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Received => "received",
        }
    }

    /// Returns whether the message has not been sent yet.
    pub(crate) fn in_progress(self) -> bool {
        matches!(self, Self::Accepted | Self::Scheduled | Self::Queued)
    }

    /// Returns whether the status is final.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Undelivered | Self::Failed | Self::Canceled | Self::Received)
    }
}
