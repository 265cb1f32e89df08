//! Why nothing is sent to a destination.

use crate::addresses::NotPublic;

/// A destination that is not allowed. The text names neither the address of a name nor the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The URL is not an https URL, or leads to an address that is not public.
    #[error(transparent)]
    Url(#[from] NotPublic),
    /// The queue is not one that this deployment may send to.
    #[error("is not one of the queues that this service may send to (SUBSCRIBER_QUEUE_ARNS)")]
    Queue,
}
