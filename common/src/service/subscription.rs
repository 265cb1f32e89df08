//! What the endpoints of subscriptions share: their state, who may see a subscription, and its representation.

mod cursor;
mod fields;
mod sending;
mod view;

pub use cursor::Cursor;
pub use fields::{GivenDestination, MAX_GRACE_SECONDS, SubscriptionFields, event_types};
pub use sending::{Config as SendingConfig, InitError, Sending, TestResult};
pub use view::{Delivery, Subscription, SubscriptionWithSecret};

use crate::clock;
use crate::config::{Configuration, Env, Secret};
use crate::db::{DatabaseConfig, Db, DbError, subscriptions};
use crate::domain::ids::SubscriptionId;
use crate::http::{ApiError, HttpRequestExt, Principal, Request, Scope, ValidationError};
use uuid::Uuid;

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

/// Returns the key whose subscriptions a caller sees: its own, or `None` for all.
#[must_use]
pub fn owner(caller: &Principal) -> Option<Uuid> {
    (!caller.has(Scope::Admin)).then_some(caller.key_id)
}

/// Returns the subscription id in a request's path.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not a UUID.
pub fn id(request: &Request) -> Result<SubscriptionId, ApiError> {
    let id = request.path_parameter("id")?;
    id.parse().map_err(|_| ValidationError::field("id", "is not a UUID").into())
}

/// The error for a subscription that does not exist or belongs to another key.
#[must_use]
pub fn not_found() -> ApiError {
    ApiError::NotFound("the subscription")
}

/// Returns the subscription in a request's path, with the secrets that sign its events now.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id; 404 if it does not exist or belongs to another key; 503.
pub async fn find(
    db: &Db,
    request: &Request,
    caller: &Principal,
) -> Result<(subscriptions::Subscription, Vec<Secret>), ApiError> {
    let found = subscriptions::find(db, id(request)?, owner(caller), clock::now()).await?;
    found.ok_or_else(not_found)
}
