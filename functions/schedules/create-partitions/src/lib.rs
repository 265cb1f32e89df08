//! Every hour: creates the monthly partitions of large tables ahead of time, so that no row goes to a default
//! partition.
//!
//! Rows that are in a default partition move when their month gets its partition. Concurrent and repeated runs are
//! safe.

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, LockWaits, partitions};
use common::telemetry::{self, Metric};
use serde::Serialize;
use std::time::Duration;

/// How long a run retries after lock timeouts. The next run continues.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// Configuration, read from the environment: [`DatabaseConfig`], and `PARTITION_MONTHS_AHEAD` (default 3, at least 2):
/// how many months after this one have a partition.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    months_ahead: u32,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let months_ahead = env.number("PARTITION_MONTHS_AHEAD", 2..=24, partitions::MONTHS_AHEAD.into());
        Some(Self { database: database?, months_ahead: u32::try_from(months_ahead?).ok()? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
}

impl App {
    /// Builds the state. It connects on the first invocation.
    ///
    /// # Errors
    ///
    /// [`DbError`] if TLS cannot be configured. The function should not start.
    pub fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        Ok(Self { config, db })
    }
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Response {
    /// The partitions that it created.
    pub created: Vec<String>,
    /// For how many months after this one all tables have a partition.
    pub months_ready: u32,
    /// Rows in default partitions: their ids come from a wrong clock, or a partition was missing.
    pub rows_in_default: i64,
}

/// Creates the missing partitions.
///
/// # Errors
///
/// [`DbError`]: the next run creates the rest.
pub async fn handle(app: &App) -> Result<Response, DbError> {
    let now = clock::now();
    let waits = LockWaits { retry_for: RETRY_FOR, ..LockWaits::default() };
    let outcome = partitions::ensure(&app.db, now, app.config.months_ahead, waits).await;
    // Measured after a failure too, because the alarm is about the result.
    let months_ready = partitions::ready(&app.db, now).await?;
    telemetry::record(Metric::PartitionsReady, f64::from(months_ready));
    let created = outcome?;
    let rows_in_default = partitions::rows_in_default(&app.db).await?;
    telemetry::record(Metric::RowsInDefaultPartitions, rows_in_default as f64);
    if !created.is_empty() {
        tracing::info!(created = created.join(","), "partitions created");
    }
    Ok(Response { created, months_ready, rows_in_default })
}
