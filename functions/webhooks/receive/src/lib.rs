//! What both webhooks do with a request of Twilio's: judge it ([`Receiver::admit`]), then make it durable
//! ([`Receiver::keep`]).
//!
//! A webhook that was answered with 2xx is never lost, so `keep` answers only when a queue, or the spool in Postgres,
//! has it. On the ordinary path that is one call to SQS; Postgres is not even connected to.

mod admit;
mod config;
mod keep;

pub use config::ReceiverConfig;

use common::db::spool::SpoolQueue;
use common::db::{DatabaseConfig, Db};
use common::queue::{Publisher, WebhookV1};
use common::twilio::{Verifier, WebhookKind};
use std::sync::OnceLock;
use std::time::Duration;

/// The largest body that is taken. Twilio's are a few hundred bytes; 1600 emoji, percent-encoded, are 20 KiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Judges Twilio's requests and makes them durable.
#[derive(Debug)]
pub struct Receiver {
    /// What the function's own URL is for.
    kind: WebhookKind,
    verifier: Verifier,
    publisher: Publisher,
    inbound_queue_url: String,
    status_queue_url: String,
    spool: Spool,
}

/// The table that takes what SQS does not.
#[derive(Debug)]
struct Spool {
    config: DatabaseConfig,
    /// Made when it is first needed, unlike all other state: over TLS it reads the machine's certificate store, which
    /// would double the cold start of every webhook for the sake of the rare one that SQS does not take.
    db: OnceLock<Db>,
    budget: Duration,
}

/// A request that is Twilio's, and names a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    kind: WebhookKind,
    message: WebhookV1,
    request_id: String,
}

impl Receiver {
    /// Prepares a receiver; nothing is connected yet.
    pub fn init(config: ReceiverConfig, kind: WebhookKind) -> Self {
        Self {
            kind,
            verifier: Verifier::new(config.auth_tokens, &config.public_base_urls),
            publisher: Publisher::new(config.publisher),
            inbound_queue_url: config.inbound_queue_url,
            status_queue_url: config.status_queue_url,
            spool: Spool { config: config.database, db: OnceLock::new(), budget: config.spool_budget },
        }
    }

    /// Returns the queue of a kind, and its name in the spool.
    fn queue(&self, kind: WebhookKind) -> (&str, SpoolQueue) {
        match kind {
            WebhookKind::Incoming => (&self.inbound_queue_url, SpoolQueue::Inbound),
            WebhookKind::Status => (&self.status_queue_url, SpoolQueue::Status),
        }
    }
}
