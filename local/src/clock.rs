//! Clock and random source of the emulated AWS services.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

/// Returns the current time.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "emulates AWS, which does not use the service's clock")]
    Timestamp::now()
}

/// Returns the current time in milliseconds since the epoch, the unit of SQS, Lambda and API Gateway.
pub(crate) fn now_ms() -> i64 {
    now().as_millisecond()
}

/// Returns the time `after` from now, in milliseconds since the epoch.
pub(crate) fn ms_from_now(after: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
}

/// Returns a new ID in the format that AWS uses for requests and messages.
pub(crate) fn request_id() -> String {
    #[expect(clippy::disallowed_methods, reason = "AWS uses UUID version 4")]
    Uuid::new_v4().to_string()
}
