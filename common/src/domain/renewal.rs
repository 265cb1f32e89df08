//! Retries after transient delivery failures: the message is created again at Twilio, a few times.

use std::time::Duration;

/// Decides which delivery failures are transient. Implemented by the provider's adapter, which knows its error codes.
pub trait Renewals: Sync {
    /// Returns the delays before each further create after a failure with this code. Empty if the failure is permanent.
    fn after(&self, error_code: &str) -> Vec<Duration>;

    /// Returns how long a message without an expiry of its own is retried, counted from its first due time.
    fn max_age(&self) -> Duration;
}
