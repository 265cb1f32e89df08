//! POST /webhook/twilio/sms: verifies an inbound message and stores it.
//!
//! Writes to the queue `[inbound]` (`INBOUND_QUEUE_URL`), or to the spool in Postgres when SQS is unavailable. A valid
//! status callback goes to `[status]`, is logged and counted (`webhooks_misrouted`).
//!
//! Refuses, in this order: a body over 64 KiB (413), a wrong signature (403), an unknown path (404), a body that is not
//! a form or has no message SID (400). If neither SQS nor Postgres accepts the webhook, it returns 503 and Twilio
//! retries.

use common::config::{Configuration, Env};
use common::http::{self, ApiError, Request, Response, StatusCode};
use common::service::receive::{Receiver, ReceiverConfig};
use common::twilio::WebhookKind;

/// Configuration, read from the environment.
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

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    receiver: Receiver,
}

impl App {
    /// Creates the state without connecting.
    pub fn init(config: Config) -> Self {
        Self { receiver: Receiver::init(config.receiver, WebhookKind::Incoming) }
    }
}

/// Validates and stores a webhook.
///
/// # Errors
///
/// [`ApiError`], as listed above.
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let webhook = app.receiver.admit(request).await?;
    app.receiver.keep(webhook).await?;
    // An empty TwiML document: a `<Message>` would send a reply.
    Ok(http::text(StatusCode::OK, "text/xml", "<Response/>"))
}
