//! Configuration of a webhook.

use crate::config::{Env, Secret};
use crate::db::DatabaseConfig;
use crate::queue::PublisherConfig;
use crate::secrets::Secrets;
use crate::twilio::webhook::WEBHOOK_PATHS;
use std::time::Duration;

/// The variable with Twilio's Auth Tokens.
pub(super) const AUTH_TOKENS: &str = "TWILIO_AUTH_TOKEN";

/// Configuration of a webhook, read from the environment.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    pub(super) auth_tokens: Vec<Secret>,
    /// Where new tokens come from, if none matches a signature.
    pub(super) secrets: Secrets,
    pub(super) public_base_urls: Vec<String>,
    pub(super) inbound_queue_url: String,
    pub(super) status_queue_url: String,
    pub(super) publisher: PublisherConfig,
    pub(super) database: DatabaseConfig,
    pub(super) spool_budget: Duration,
}

impl ReceiverConfig {
    /// Reads `TWILIO_AUTH_TOKEN` (a list), `PUBLIC_WEBHOOK_BASE_URL` (a list; empty for the function URL that
    /// received the request), `INBOUND_QUEUE_URL`, `STATUS_QUEUE_URL`, the variables of [`PublisherConfig`] and
    /// [`DatabaseConfig`], and `SPOOL_WRITE_BUDGET_MS` (5000), the time limit for writing to the spool. Together with
    /// the limit for SQS it must stay below the 15 s after which Twilio times out.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let auth_tokens = env.secrets(AUTH_TOKENS);
        let public_base_urls = env.optional_base_urls("PUBLIC_WEBHOOK_BASE_URL", &WEBHOOK_PATHS);
        let inbound_queue_url = env.url("INBOUND_QUEUE_URL");
        let status_queue_url = env.url("STATUS_QUEUE_URL");
        let publisher = PublisherConfig::from_env(env);
        let database = DatabaseConfig::from_env(env);
        let spool_budget = env.millis("SPOOL_WRITE_BUDGET_MS", 1..=10_000, 5_000);
        Some(Self {
            auth_tokens: auth_tokens?,
            secrets: env.source(&[AUTH_TOKENS]),
            public_base_urls: public_base_urls?,
            inbound_queue_url: inbound_queue_url?.into(),
            status_queue_url: status_queue_url?.into(),
            publisher: publisher?,
            database: database?,
            spool_budget: spool_budget?,
        })
    }
}
