//! Configuration.

use common::config::{Configuration, Env};
use common::db::DatabaseConfig;
use common::domain::quiet_hours::QuietHours;
use common::queue::PublisherConfig;
use common::service::sending::{self, SendingConfig};
use std::time::Duration;

/// Configuration, read from the environment: the variables of [`SendingConfig`], [`PublisherConfig`] and
/// [`DatabaseConfig`]; `OUTBOUND_QUEUE_URL`; `QUIET_HOURS` and `QUIET_HOURS_DEFAULT_TIME_ZONE`, for dry runs; and
/// `DATABASE_BUDGET_MS` (25000), the time limit of one request. API Gateway times out after 30 s.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) sending: SendingConfig,
    pub(crate) quiet: Option<QuietHours>,
    pub(crate) queue_url: String,
    pub(crate) publisher: PublisherConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) database_budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let sending = SendingConfig::from_env(env);
        let quiet = sending::quiet_hours(env);
        let queue_url = env.url("OUTBOUND_QUEUE_URL");
        let publisher = PublisherConfig::from_env(env);
        let database = DatabaseConfig::for_answers(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 25_000);
        Some(Self {
            sending: sending?,
            quiet: quiet?,
            queue_url: queue_url?.into(),
            publisher: publisher?,
            database: database?,
            database_budget: database_budget?,
        })
    }
}
