//! Invoked directly, before a deployment's new functions take traffic: applies `migrations/`, which is embedded here.
//!
//! Takes any payload and answers `{"applied": ["0001_…"]}` with what it applied, which is nothing the second time. Two
//! runs side by side apply everything once. A migration that fails is a function error; what it did is rolled back, except in
//! a file without a transaction, which the next run starts again.

use common::config::{Configuration, Env};
use common::db::migrations::{self, LockWaits, MigrateError};
use common::db::{DatabaseConfig, Db, DbError};
use serde::Serialize;
use serde::de::IgnoredAny;

/// Configuration, read from the environment: what [`DatabaseConfig`] reads, `MIGRATION_LOCK_TIMEOUT_MS` (500),
/// `MIGRATION_RETRY_PAUSE_MS` (2000) and `MIGRATION_RETRY_SECONDS` (120), as [`LockWaits`] explains.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    waits: LockWaits,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let lock_timeout = env.millis("MIGRATION_LOCK_TIMEOUT_MS", 1..=60_000, 500);
        let pause = env.millis("MIGRATION_RETRY_PAUSE_MS", 1..=60_000, 2_000);
        let retry_for = env.seconds("MIGRATION_RETRY_SECONDS", 0..=840, 120);
        Some(Self {
            database: database?,
            waits: LockWaits { lock_timeout: lock_timeout?, pause: pause?, retry_for: retry_for? },
        })
    }
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
    waits: LockWaits,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS can't be set up: the function can't start.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)?, waits: config.waits })
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The migrations that this run applied, in order.
    pub applied: Vec<&'static str>,
}

/// Applies what is missing, whatever the payload says.
///
/// # Errors
///
/// [`MigrateError`], naming the migration that failed; those before it stay.
pub async fn handle(app: &App, _payload: IgnoredAny) -> Result<Answer, MigrateError> {
    let applied = migrations::migrate_with(&app.db, app.waits).await?;
    tracing::info!(applied = applied.join(","), "migrated");
    Ok(Answer { applied })
}
