//! The planned outcome of an accepted message and of its status callbacks.

use serde::{Deserialize, Serialize};

use crate::state::status::Status;

/// The planned outcome of a message and its status callbacks. Faults change it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) outcome: Outcome,
    pub(crate) callbacks: CallbackPlan,
}

/// The planned final status of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Received by the handset and reported as `delivered`.
    #[default]
    Delivered,
    /// Received by the handset; the status stays `sent`.
    SentOnly,
    /// Lost by the carrier: `undelivered` with this error code.
    Undelivered(u32),
    /// Never given to the carrier: `failed` with this error code.
    Failed(u32),
}

/// How the status callbacks of a message are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallbackPlan {
    pub(crate) late_ms: u64,
    pub(crate) copies: u32,
    pub(crate) reordered: bool,
    pub(crate) early: bool,
    pub(crate) lost: Lost,
}

impl Default for CallbackPlan {
    fn default() -> Self {
        Self { late_ms: 0, copies: 1, reordered: false, early: false, lost: Lost::None }
    }
}

/// The status callbacks that are not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lost {
    #[default]
    None,
    All,
    These(Vec<Status>),
}
