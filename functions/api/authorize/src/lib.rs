//! The gateway's Lambda authorizer (payload format 2.0, simple responses): who holds a key, and what it allows.
//!
//! Reads `api_keys`. The gateway keeps the answer for a while and hands `context` on to the function behind the route.
//! A text that can't be a key is refused without asking Postgres.
//!
//! When Postgres can't be asked, a key that this process has found good before stays good, and any other is handed on as
//! unverified: the function behind the route looks for itself (`caller`), and answers 503 while it can't either, where a
//! failed authorizer would make the gateway say 500. The gateway may remember this for its minute; nobody waits for that.
//!
//! Format: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, api_keys};
use common::http::{Caller, Principal};
use common::telemetry::{self, Metric};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tracing::Instrument;

/// What the function is told by its environment: what [`DatabaseConfig`] reads, and `DATABASE_BUDGET_MS` (600), all the
/// time that Postgres may take for one key: the function behind the route spends its own after it.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    database_budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 600);
        Some(Self { database: database?, database_budget: database_budget? })
    }
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
    database_budget: Duration,
    /// The keys that were found good, by hash: asked only while Postgres can't be. There are as many as valid keys.
    known: Mutex<HashMap<Vec<u8>, Known>>,
}

/// A key that was found good.
#[derive(Debug, Clone)]
struct Known {
    principal: Principal,
    expires_at: Option<Timestamp>,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS can't be set up: the function can't start.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self {
            db: Db::new(&config.database)?,
            database_budget: config.database_budget,
            known: Mutex::default(),
        })
    }

    /// Connects ahead of the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// What the gateway asks; only what is read is declared.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    request_context: Context,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    #[serde(default)]
    request_id: String,
}

impl Question {
    /// Returns the key, if the header holds something that may be one.
    fn key(&self) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
        api_keys::in_header(value)
    }
}

/// What the gateway is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    is_authorized: bool,
    /// Handed on to the function behind the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Caller>,
}

impl Verdict {
    const REFUSED: Self = Self { is_authorized: false, context: None };

    fn hand_on(caller: Caller) -> Self {
        Self { is_authorized: true, context: Some(caller) }
    }
}

/// Looks the caller's key up.
///
/// # Errors
///
/// [`DbError`] that no waiting mends: the gateway then says 500 and, unlike a verdict, does not remember it.
pub async fn handle(app: &App, question: Question) -> Result<Verdict, DbError> {
    let span = telemetry::request(&question.request_context.request_id);
    let Some(key) = question.key() else {
        span.in_scope(|| tracing::info!("refused: no key of ours in the header"));
        return Ok(Verdict::REFUSED);
    };
    let hash = api_keys::hash(key);
    let found = app.find(&hash).instrument(span.clone()).await;
    let _request = span.entered();
    match found {
        Ok(Some(known)) => {
            let principal = known.principal.clone();
            app.known().insert(hash, known);
            Ok(Verdict::hand_on(Caller::Known(principal)))
        }
        Ok(None) => {
            app.known().remove(&hash);
            tracing::info!("refused: unknown, revoked or expired key");
            Ok(Verdict::REFUSED)
        }
        Err(error) if error.is_unavailable() => {
            telemetry::count(Metric::ApiFailures, 1);
            tracing::error!(error = common::error::chain(&error), "the keys cannot be read");
            Ok(app.unverified(&hash))
        }
        Err(error) => Err(error),
    }
}

impl App {
    async fn find(&self, hash: &[u8]) -> Result<Option<Known>, DbError> {
        let found = api_keys::find_valid(&self.db, hash, clock::now());
        let found = tokio::time::timeout(self.database_budget, found).await;
        let late = |_| DbError::TimedOut { operation: "look a key up", after: self.database_budget };
        Ok(found.map_err(late)??.map(|key| Known {
            principal: Principal { key_id: key.id, scopes: key.scopes },
            expires_at: key.expires_at,
        }))
    }

    fn unverified(&self, hash: &[u8]) -> Verdict {
        let now = clock::now();
        let known = self.known().get(hash).filter(|key| key.expires_at.is_none_or(|end| now < end)).cloned();
        Verdict::hand_on(match known {
            Some(known) => Caller::Known(known.principal),
            None => Caller::Unverified { unverified: true },
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
