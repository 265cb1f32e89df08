//! POST /webhook/twilio/status: what became of a message that was sent, proven genuine and made durable.
//!
//! Reads nothing; writes to the queue `[status]` (`STATUS_QUEUE_URL`), or to the spool in Postgres when SQS does not take it.
//! A genuine incoming message that comes here goes to `[inbound]`, is logged and counted (`webhooks_misrouted`).
//! What it refuses, in this order: a body over 64 KiB (413), a wrong signature (403), a path that is no webhook's (404), a
//! body that is no form or names no message (400). When nothing durable takes the webhook it answers 503, and Twilio comes again.

use common::config::{Configuration, Env};
use common::http::{ApiError, Reply, Request};
use common::twilio::WebhookKind;
use receive::{Receiver, ReceiverConfig};

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Config {
    receiver: ReceiverConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let receiver = ReceiverConfig::from_env(env);
        Some(Self { receiver: receiver? })
    }
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    receiver: Receiver,
}

impl App {
    /// Builds it; nothing is connected yet.
    pub fn init(config: Config) -> Self {
        Self { receiver: Receiver::init(config.receiver, WebhookKind::Status) }
    }
}

/// Admits a webhook, makes it durable, and answers.
///
/// # Errors
///
/// [`ApiError`], as the table above has it.
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    let webhook = app.receiver.admit(request)?;
    app.receiver.keep(webhook).await?;
    Ok(Reply::empty(200))
}
