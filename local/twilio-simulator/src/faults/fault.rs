//! The kinds of faults and the delivery plan of a message that meets one.

use serde::{Deserialize, Serialize};

use crate::state::plan::{CallbackPlan, Lost, Outcome, Plan};
use crate::state::status::Status;

/// A fault of a request or of the delivery that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// Resets a new connection. Applies to connections, not to requests.
    Refuse {},
    /// Resets the connection after the request headers.
    ResetBeforeRead {},
    /// Resets the connection after the whole request.
    ResetAfterRead {
        #[serde(default)]
        accept: bool,
    },
    /// Sends no response. After `seconds`, if set, resets the connection.
    Hang {
        #[serde(default)]
        accept: bool,
        seconds: Option<u64>,
    },
    /// Responds 429 with error code 20429.
    RateLimited { retry_after: Option<u32> },
    /// Responds with a 5xx status. `accept` says whether the message is sent.
    ServerError {
        #[serde(default)]
        accept: bool,
        #[serde(default = "internal_server_error")]
        status: u16,
    },
    /// Accepts the message and cuts the 201 response in the middle of its body.
    Truncated {},
    /// Accepts the message and responds 201 with HTML instead of JSON.
    Garbled {},
    /// Accepts the message immediately and responds late.
    Slow { ms: u64 },
    /// Accepts the message and responds after this time, even if the client has disconnected.
    Late { ms: u64 },
    /// Responds with a Twilio error. `status` overrides the usual HTTP status.
    Error { code: u32, status: Option<u16> },
    /// Redirects (307). Requests for media files are redirected to their own URL, a redirect loop, without `location`.
    Redirect { location: Option<String> },
    /// Responds with this content type and the normal body.
    ContentType { value: String },
    /// Responds with a body of this size in place of the normal one.
    Oversized { bytes: u64 },
    /// Responds with a body that does not end.
    Endless {},
    /// Sends the body in ten parts, each after this time.
    SlowBody { ms: u64 },
    /// Accepts the message; its statuses are `sent` and `undelivered`.
    Undelivered { code: u32 },
    /// Accepts the message; its status becomes `failed`.
    Failed { code: u32 },
    /// Accepts the message; its status stays `sent`.
    SentOnly {},
    /// Accepts the message; its status callbacks are faulty.
    Callbacks(CallbackFault),
}

fn internal_server_error() -> u16 {
    500
}

/// A fault of the status callbacks of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallbackFault {
    pub(crate) mode: CallbackMode,
    pub(crate) delay_ms: Option<u64>,
    pub(crate) statuses: Option<Vec<Status>>,
}

impl CallbackFault {
    pub(crate) fn plan(&self) -> CallbackPlan {
        let mut plan = CallbackPlan::default();
        match self.mode {
            CallbackMode::Late => plan.late_ms = self.delay_ms.unwrap_or(10_000),
            CallbackMode::Doubled => plan.copies = 2,
            CallbackMode::Reordered => plan.reordered = true,
            CallbackMode::Early => plan.early = true,
            CallbackMode::Lost => plan.lost = self.statuses.clone().map_or(Lost::All, Lost::These),
        }
        plan
    }
}

/// The kind of a callback fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallbackMode {
    /// Delays each callback by `delay_ms` (default 10 000).
    Late,
    /// Sends each callback twice.
    Doubled,
    /// Sends the callbacks in reverse order.
    Reordered,
    /// Sends no callbacks, or omits those of `statuses`.
    Lost,
    /// Sends all callbacks before the response to the create request.
    Early,
}

impl Fault {
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        match self {
            Self::Undelivered { code } => plan.outcome = Outcome::Undelivered(*code),
            Self::Failed { code } => plan.outcome = Outcome::Failed(*code),
            Self::SentOnly {} => plan.outcome = Outcome::SentOnly,
            Self::Callbacks(callbacks) => plan.callbacks = callbacks.plan(),
            _ => {}
        }
        plan
    }
}
