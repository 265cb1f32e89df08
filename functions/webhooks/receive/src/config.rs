//! What a webhook is told by its environment.

use common::config::{Env, Secret};
use common::db::DatabaseConfig;
use common::queue::PublisherConfig;
use common::twilio::webhook::WEBHOOK_PATHS;
use std::time::Duration;

/// What a webhook is told by its environment.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    pub(crate) auth_tokens: Vec<Secret>,
    pub(crate) public_base_urls: Vec<String>,
    pub(crate) inbound_queue_url: String,
    pub(crate) status_queue_url: String,
    pub(crate) publisher: PublisherConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) spool_budget: Duration,
}

impl ReceiverConfig {
    /// Reads `TWILIO_AUTH_TOKEN` and `PUBLIC_WEBHOOK_BASE_URL` (lists), `INBOUND_QUEUE_URL` and `STATUS_QUEUE_URL`,
    /// what [`PublisherConfig`] and [`DatabaseConfig`] read, and `SPOOL_WRITE_BUDGET_MS` (5000): all the time that
    /// writing to the spool may take. With SQS's budget that stays far below the 15 s after which Twilio gives up.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let auth_tokens = env.secrets("TWILIO_AUTH_TOKEN");
        let public_base_urls = env.base_urls("PUBLIC_WEBHOOK_BASE_URL", &WEBHOOK_PATHS);
        let inbound_queue_url = env.url("INBOUND_QUEUE_URL");
        let status_queue_url = env.url("STATUS_QUEUE_URL");
        let publisher = PublisherConfig::from_env(env);
        let database = DatabaseConfig::from_env(env);
        let spool_budget = env.millis("SPOOL_WRITE_BUDGET_MS", 1..=10_000, 5_000);
        Some(Self {
            auth_tokens: auth_tokens?,
            public_base_urls: public_base_urls?,
            inbound_queue_url: inbound_queue_url?.into(),
            status_queue_url: status_queue_url?.into(),
            publisher: publisher?,
            database: database?,
            spool_budget: spool_budget?,
        })
    }
}
