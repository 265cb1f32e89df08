//! Batches: the messages of one or several bulk requests.

use super::named::named_enum;

named_enum! {
    /// The status of a batch.
    pub enum BatchStatus: "the status of a batch" {
        /// Its messages are sent.
        Running = "running",
        /// Nothing is sent until it is resumed.
        Paused = "paused",
        /// Messages that were not handed to Twilio are canceled.
        Cancelled = "cancelled",
        /// Every message has its final status.
        Completed = "completed",
    }
}

named_enum! {
    /// What a caller does with a batch.
    pub enum BatchAction: "an action on a batch" {
        /// Stops it until it is resumed.
        Pause = "pause",
        /// Continues it.
        Resume = "resume",
        /// Ends it.
        Cancel = "cancel",
    }
}

impl BatchAction {
    /// Returns the status that follows, as far as messages remain.
    #[must_use]
    pub const fn target(self) -> BatchStatus {
        match self {
            Self::Pause => BatchStatus::Paused,
            Self::Resume => BatchStatus::Running,
            Self::Cancel => BatchStatus::Cancelled,
        }
    }
}
