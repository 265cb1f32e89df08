//! The state of endpoints that only need Postgres.

use crate::config::{Configuration, Env};
use crate::db::{DatabaseConfig, Db, DbError};

/// Configuration, read from the environment: the variables of [`DatabaseConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        Some(Self { database: database? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub db: Db,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)? })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}
