//! The machine's clock and random source, as AWS's services would have their own.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// Returns the present instant.
pub(crate) fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the stack stands for AWS, whose clock is not the service's"
    )]
    Timestamp::now()
}

/// Milliseconds since the epoch: what SQS, Lambda and API Gateway count in.
pub(crate) fn now_ms() -> i64 {
    now().as_millisecond()
}

/// Milliseconds since the epoch, `after` from now.
pub(crate) fn ms_from_now(after: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
}

/// Returns an identifier of the form that AWS gives requests and messages.
pub(crate) fn request_id() -> String {
    #[expect(clippy::disallowed_methods, reason = "AWS's identifiers are of version 4")]
    Uuid::new_v4().to_string()
}
