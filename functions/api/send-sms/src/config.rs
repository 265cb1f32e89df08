//! Configuration.

use common::config::{Configuration, Env};
use common::db::DatabaseConfig;
use common::queue::PublisherConfig;
use common::service::sending::SendingConfig;
use std::time::Duration;

/// Configuration, read from the environment: the variables of [`SendingConfig`], [`PublisherConfig`] and
/// [`DatabaseConfig`]; `OUTBOUND_QUEUE_URL`; and `DATABASE_BUDGET_MS` (25000), the time limit for Postgres in one
/// request. API Gateway times out after 30 s. If Postgres refuses connections, the request fails within two seconds.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) sending: SendingConfig,
    pub(crate) queue_url: String,
    pub(crate) publisher: PublisherConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) database_budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let sending = SendingConfig::from_env(env);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        let publisher = PublisherConfig::from_env(env);
        let database = DatabaseConfig::for_answers(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 25_000);
        Some(Self {
            sending: sending?,
            queue_url: queue_url?.into(),
            publisher: publisher?,
            database: database?,
            database_budget: database_budget?,
        })
    }
}
