//! The state of the endpoints that find one message by its id.

use crate::config::{Configuration, Env};
use crate::db::{DatabaseConfig, Db, DbError};
use crate::domain::ids::MessageId;
use crate::http::{ApiError, HttpRequestExt, Request, ValidationError};

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

/// Returns the message id in a request's path.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not a UUID.
pub fn id(request: &Request) -> Result<MessageId, ApiError> {
    let id = request.path_parameter("id")?;
    id.parse().map_err(|_| ValidationError::field("id", "is not a UUID").into())
}
