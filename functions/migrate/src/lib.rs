//! Invoked directly, before a deployment's new functions take traffic: applies `migrations/`, which is embedded here.
//!
//! Takes any payload and answers `{"applied": ["0001_…"]}` with what it applied, which is nothing the second time. Two
//! runs side by side apply everything once. A migration that fails is a function error, and leaves nothing of itself.

use common::config::{Configuration, Env};
use common::db::migrations::{self, MigrateError};
use common::db::{DatabaseConfig, Db, DbError};
use serde::Serialize;
use serde::de::IgnoredAny;

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        Some(Self { database: database? })
    }
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS can't be set up: the function can't start.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)? })
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
    let applied = migrations::migrate(&app.db).await?;
    tracing::info!(applied = applied.join(","), "migrated");
    Ok(Answer { applied })
}
