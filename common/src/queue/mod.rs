//! SQS: the queue messages, a publisher, and batches for consumers.
//!
//! Consumers use partial batch responses:
//!
//! | outcome of a record | response |
//! |---|---|
//! | processed, or a duplicate | success |
//! | permanent rejection, stored as failed | success |
//! | transient error | failure: the record becomes visible again after the visibility timeout |
//! | unknown version | the same, because during a deployment producers can be newer than consumers |
//! | unreadable body | failure: after the maximum receive count it moves to the dead-letter queue |
//!
//! Queues that wait out a Postgres outage have a high maximum receive count. There, poison messages become visible
//! again immediately, so that they reach the dead-letter queue quickly
//! (`common/docs/decisions/0012-outages-and-poison.md`).

mod batch;
mod message;
mod publisher;
mod spans;

pub use batch::{Batch, Record, run};
pub use message::{
    DispatchMessage, DispatchV1, DispatchV2, EventsMessage, Grouped, IdentifyMessage, IdentifyV1,
    MediaMessage, MediaV1, ReadError, StreamHint, Versioned, WebhookMessage, WebhookV1, group_of,
};
pub use publisher::{MAX_DELAY, PublishError, Publisher, PublisherConfig};

/// The message attribute with the request id. Those of [traces](crate::telemetry::traces) have the names of headers.
pub const REQUEST_ID: &str = "request_id";
