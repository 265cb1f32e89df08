//! Applies the embedded `migrations/`. Invoked directly during a deployment, before the new functions receive traffic.
//!
//! Ignores the payload and returns `{"applied": ["0001_…"]}`, the list of newly applied migrations. Concurrent runs
//! apply each migration once. A failed migration is a function error. It is rolled back, unless its file disables the
//! transaction; then the next run starts the file again.

use common::config::{Configuration, Env};
use common::db::migrations::{self, MigrateError};
use common::db::{DatabaseConfig, Db, DbError, LockWaits};
use serde::Serialize;
use serde::de::IgnoredAny;

/// Configuration, read from the environment: the variables of [`DatabaseConfig`], and `MIGRATION_LOCK_TIMEOUT_MS`
/// (default 500), `MIGRATION_RETRY_PAUSE_MS` (default 2000) and `MIGRATION_RETRY_SECONDS` (default 120) for
/// [`LockWaits`].
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

/// The response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Response {
    /// The migrations applied by this run, in order.
    pub applied: Vec<&'static str>,
}

/// Applies the missing migrations.
///
/// # Errors
///
/// [`MigrateError`] with the name of the failed migration. Earlier migrations stay applied. Fix the cause and run
/// again.
pub async fn handle(app: &App, _payload: IgnoredAny) -> Result<Response, MigrateError> {
    let applied = migrations::migrate_with(&app.db, app.config.waits).await?;
    tracing::info!(applied = applied.join(","), "migrations applied");
    Ok(Response { applied })
}
