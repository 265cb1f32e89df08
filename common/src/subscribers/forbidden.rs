//! Why nothing is sent to a destination.

/// A destination that is not allowed. The text names neither the address of a name nor the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The scheme is not `https`.
    #[error("must be an https URL")]
    NotHttps,
    /// The host is, or one of its addresses is, of this kind.
    #[error("must have public addresses only, but the host has {0} address")]
    Address(&'static str),
    /// The queue is not one that this deployment may send to.
    #[error("is not one of the queues that this service may send to (SUBSCRIBER_QUEUE_ARNS)")]
    Queue,
}
