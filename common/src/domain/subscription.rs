//! Subscriptions to events.

use super::named::named_enum;

named_enum! {
    /// Whether a subscription gets events.
    pub enum SubscriptionStatus: "a status of a subscription" {
        /// It gets events.
        Active = "active",
        /// Its events stay undelivered until it is enabled.
        Disabled = "disabled",
    }
}
