//! The state of the endpoints that send to a destination: verification and tests.

use super::fields::GivenDestination;
use super::view::Delivery;
use crate::clock;
use crate::config::{Configuration, Env, Secret};
use crate::db::{DatabaseConfig, Db, DbError, subscriptions};
use crate::http::{ApiError, ValidationError};
use crate::subscribers::{Destination, Outcome, Outgoing, Subscribers, SubscribersConfig, SubscribersError};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use utoipa::ToSchema;

/// Configuration, read from the environment: the variables of [`DatabaseConfig`] and [`SubscribersConfig`], and
/// `EVENTS_ATTEMPT_TIMEOUT_MS` (15000), the deadline of a request to a subscriber.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    subscribers: SubscribersConfig,
    timeout: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        let subscribers = SubscribersConfig::from_env(env);
        let timeout = env.millis("EVENTS_ATTEMPT_TIMEOUT_MS", 10..=60_000, 15_000);
        Some(Self { database: database?, subscribers: subscribers?, timeout: timeout? })
    }
}

/// An error while creating the state.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The database's TLS configuration is invalid.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The client of subscribers could not be created.
    #[error(transparent)]
    Subscribers(#[from] SubscribersError),
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct Sending {
    /// The database.
    pub db: Db,
    subscribers: Subscribers,
    timeout: Duration,
}

/// The result of a test delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TestResult {
    /// Whether the receiver accepted the event.
    pub is_delivered: bool,
    /// The attempt.
    #[serde(flatten)]
    pub delivery: Delivery,
}

impl Sending {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub fn init(config: &Config) -> Result<Self, InitError> {
        let subscribers = Subscribers::new(&config.subscribers)?;
        Ok(Self { db: Db::new(&config.database)?, subscribers, timeout: config.timeout })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }

    /// Checks that the owner of a destination wants events.
    ///
    /// # Errors
    ///
    /// [`ApiError::Validation`] with the field of the destination and the reason.
    pub async fn verify(&self, destination: &GivenDestination, secret: &Secret) -> Result<(), ApiError> {
        let verified = self.subscribers.challenge(&destination.parsed, secret, self.timeout).await;
        verified.map_err(|refusal| ValidationError::field(destination.field(), refusal.to_string()).into())
    }

    /// Sends a signed event of the type `subscription.test` once.
    ///
    /// # Errors
    ///
    /// [`ApiError::Internal`] if the stored destination is invalid.
    pub async fn test(
        &self,
        subscription: &subscriptions::Subscription,
        secrets: &[Secret],
    ) -> Result<TestResult, ApiError> {
        let destination = Destination::stored(subscription.url.as_deref(), subscription.queue_arn.as_deref())
            .map_err(ApiError::internal)?;
        let (id, at) = (clock::new_id(), clock::now());
        let body = json!({
            "id": id, "type": "subscription.test", "timestamp": at, "data": {"subscription_id": subscription.id},
        });
        let (body, id_text) = (body.to_string(), id.to_string());
        let outgoing = Outgoing { id: &id_text, body: &body, secrets, group: None };
        let made = self.subscribers.deliver(&destination, &outgoing, self.timeout).await;
        Ok(TestResult {
            is_delivered: made.outcome == Outcome::Delivered,
            delivery: Delivery::of_test(id, at, made),
        })
    }
}
