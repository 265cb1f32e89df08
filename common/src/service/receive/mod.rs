//! Reception of Twilio's webhooks: [`Receiver::admit`] validates a request, [`Receiver::keep`] stores it.
//!
//! A webhook with a 2xx response must not be lost, so `keep` returns only after the message is on its queue or in the
//! spool in Postgres. Normally that is one call to SQS and no connection to Postgres.

mod admit;
mod config;
mod keep;

pub use config::ReceiverConfig;

use crate::db::Db;
use crate::db::spool::SpoolQueue;
use crate::queue::{Publisher, WebhookV1};
use crate::telemetry::traces::ServerSpan;
use crate::twilio::{Verifier, WebhookKind};
use std::sync::{Arc, OnceLock, RwLock};

/// The largest accepted body. Twilio sends a few hundred bytes; 1600 percent-encoded emoji are 20 KiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Validates Twilio's requests and stores them.
#[derive(Debug)]
pub struct Receiver {
    /// The kind of webhook that the function's URL is for.
    kind: WebhookKind,
    config: ReceiverConfig,
    /// Replaced when the Auth Tokens have changed.
    verifier: RwLock<Current>,
    publisher: Publisher,
    /// The database of the spool. Created on first use, unlike all other state: with TLS it reads the system's
    /// certificate store, which would double every cold start for the rare webhook that SQS does not accept.
    db: OnceLock<Db>,
}

/// A verifier, and the version of the secrets that it was made from.
#[derive(Debug, Clone)]
struct Current {
    verifier: Arc<Verifier>,
    version: u64,
}

/// A request that Twilio signed and that has a message SID.
#[derive(Debug, Clone)]
pub struct Webhook {
    kind: WebhookKind,
    message: WebhookV1,
    request_id: String,
    trace: ServerSpan,
}

impl Receiver {
    /// Creates a receiver without connecting.
    pub fn init(config: ReceiverConfig, kind: WebhookKind) -> Self {
        Self {
            kind,
            verifier: RwLock::new(Current {
                verifier: Arc::new(Verifier::new(config.auth_tokens.clone(), &config.public_base_urls)),
                version: config.secrets.version(config::AUTH_TOKENS),
            }),
            publisher: Publisher::new(config.publisher.clone()),
            config,
            db: OnceLock::new(),
        }
    }

    /// Returns the queue for a kind, and that queue's name in the spool.
    fn queue(&self, kind: WebhookKind) -> (&str, SpoolQueue) {
        match kind {
            WebhookKind::Incoming => (&self.config.inbound_queue_url, SpoolQueue::Inbound),
            WebhookKind::Status => (&self.config.status_queue_url, SpoolQueue::Status),
        }
    }
}
