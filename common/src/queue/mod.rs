//! SQS: what is put on the queues, and how a batch is taken from them.
//!
//! What a consumer does with a record, here, in tests and in the README alike:
//!
//! | outcome | answer to SQS |
//! |---|---|
//! | done, or a duplicate | success |
//! | refused for good and stored as failed | success |
//! | transient failure | that record fails and comes back after the visibility timeout |
//! | a version that this build does not know | the same: during a deployment the writers may be newer |
//! | unreadable body | that record fails, and ends in the dead-letter queue with its evidence |
//!
//! Where an outage of Postgres must not make dead letters, what can never be processed is handed out again at once
//! (`common/docs/decisions/0012-outages-and-poison.md`).

mod batch;
mod message;
mod publisher;

pub use batch::{Batch, Record, run};
pub use message::{
    DispatchMessage, DispatchV1, DispatchV2, IdentifyMessage, IdentifyV1, ReadError, Versioned,
    WebhookMessage, WebhookV1,
};
pub use publisher::{MAX_DELAY, PublishError, Publisher, PublisherConfig};

/// The message attribute that carries a request's id from function to function.
pub const REQUEST_ID: &str = "request_id";
