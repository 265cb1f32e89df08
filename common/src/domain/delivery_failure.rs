//! Delivery failures: which are retried with a new message, and what they say about the recipient.

use super::named::named_enum;
use std::time::Duration;

named_enum! {
    /// What a failure says about the recipient of the message.
    pub enum RecipientEffect: "an effect on a recipient" {
        /// The carrier blocks messages to the number.
        CarrierBlocked = "carrier_blocked",
        /// The recipient has opted out.
        OptedOut = "opted_out",
    }
}

/// Interprets error codes. Implemented by the provider's adapter.
pub trait FailurePolicy: Sync {
    /// Returns the delays before each further create after a failure with this code. Empty if the failure is permanent.
    fn after(&self, error_code: &str) -> Vec<Duration>;

    /// Returns how long a message without an expiry of its own is retried, counted from its first due time.
    fn max_age(&self) -> Duration;

    /// Returns what this code says about the recipient.
    fn recipient_effect(&self, error_code: &str) -> Option<RecipientEffect>;
}
