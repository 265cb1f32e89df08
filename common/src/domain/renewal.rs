//! Failures that may pass: what Twilio took and could not deliver is created anew, a few times.

use std::time::Duration;

/// Says which failures may pass. Codes are the provider's, so it is the provider's room that knows.
pub trait Renewals: Sync {
    /// Returns how long after its failure a message is created anew, for the first time, the second and so on; empty
    /// for a code that ends the message.
    fn after(&self, error_code: &str) -> Vec<Duration>;

    /// Returns how long a message without an end of its own is tried, from when it was to be sent first.
    fn max_age(&self) -> Duration;
}
