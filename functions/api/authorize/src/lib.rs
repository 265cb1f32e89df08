//! The gateway's Lambda authorizer (payload format 2.0, simple responses).
//!
//! Reads `api_keys`. The gateway caches the result for a minute and passes `context` to the function behind the route.
//! Malformed keys, and keys that were refused within `KEY_CACHE_SECONDS`, are refused without a query. The process
//! connects at the first key that may be valid.
//!
//! When Postgres is unavailable, a key that this process verified within `KEY_CACHE_SECONDS` stays valid. Any other key
//! is passed on as unverified: the endpoint verifies it itself (`common::service::caller`) and returns 503 if it
//! cannot, where a failed authorizer would make the gateway return 500.
//!
//! Format: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, api_keys};
use common::http::{Caller, Principal};
use common::telemetry::{self, Metric};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tracing::Instrument;

/// Configuration, read from the environment: the variables of [`DatabaseConfig`]; `DATABASE_BUDGET_MS` (3000), the time
/// limit for one key (API Gateway waits 10 s for an authorizer); `KEY_CACHE_SECONDS` (60), how long results are cached.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    database_budget: Duration,
    remembered_for: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        let database_budget = env.millis("DATABASE_BUDGET_MS", 50..=60_000, 3_000);
        let remembered_for = env.seconds("KEY_CACHE_SECONDS", 1..=3_600, 60);
        Some(Self { database: database?, database_budget: database_budget?, remembered_for: remembered_for? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    remembered: Mutex<Remembered>,
}

/// Cached results, by the hash of the key.
#[derive(Debug, Default)]
struct Remembered {
    /// Used only while Postgres is unavailable. Not larger than the number of valid keys.
    good: HashMap<Vec<u8>, Known>,
    /// Time of the refusal. A refused key never becomes valid: keys are random, and a revocation is final.
    refused: HashMap<Vec<u8>, Timestamp>,
}

/// A valid key.
#[derive(Debug, Clone)]
struct Known {
    principal: Principal,
    expires_at: Option<Timestamp>,
    found_at: Timestamp,
}

/// How many refused keys are cached (less than 1 MB).
const MAX_REFUSED: usize = 4_096;

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        Ok(Self { config, db, remembered: Mutex::default() })
    }
}

/// The event, with only the fields that are read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    #[serde(default, deserialize_with = "null_as_default")]
    headers: HashMap<String, String>,
    #[serde(default, deserialize_with = "null_as_default")]
    request_context: Context,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    #[serde(default, deserialize_with = "null_as_default")]
    request_id: String,
}

/// Reads `null` like an absent value: AWS omits empty values, other gateways write `null`.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Question {
    /// Returns the key if the header has a well-formed one.
    fn key(&self) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
        api_keys::in_header(value)
    }
}

/// The response to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    is_authorized: bool,
    /// Passed to the function behind the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Caller>,
}

impl Verdict {
    const REFUSED: Self = Self { is_authorized: false, context: None };

    fn allow(caller: Caller) -> Self {
        Self { is_authorized: true, context: Some(caller) }
    }
}

/// Verifies the caller's key.
///
/// # Errors
///
/// [`DbError`] that is not temporary. The gateway then returns 500 and does not cache it.
pub async fn handle(app: &App, question: Question) -> Result<Verdict, DbError> {
    let span = telemetry::request(&question.request_context.request_id);
    let Some(key) = question.key() else {
        return Ok(span.in_scope(|| refuse("no well-formed key")));
    };
    let hash = api_keys::hash(key);
    if app.was_refused(&hash) {
        return Ok(span.in_scope(|| refuse("key refused before")));
    }
    let found = app.find(&hash).instrument(span.clone()).await;
    let _request = span.entered();
    match found {
        Ok(Some(known)) => {
            let principal = known.principal.clone();
            app.remembered().good.insert(hash, known);
            Ok(Verdict::allow(Caller::Known(principal)))
        }
        Ok(None) => {
            app.remember_refused(hash);
            Ok(refuse("unknown, revoked or expired key"))
        }
        Err(error) if error.is_unavailable() => {
            telemetry::count(Metric::ApiFailures, 1);
            telemetry::count_error("unavailable");
            tracing::error!(error = common::error::chain(&error), "could not read keys");
            Ok(app.unverified(&hash))
        }
        Err(error) => Err(error),
    }
}

/// Refuses a key, with the last log line of the invocation.
fn refuse(reason: &str) -> Verdict {
    telemetry::count(Metric::KeysRefused, 1);
    telemetry::count_error("unauthorized");
    tracing::info!(name: telemetry::LAST_LINE, reason, "API key rejected");
    Verdict::REFUSED
}

impl App {
    async fn find(&self, hash: &[u8]) -> Result<Option<Known>, DbError> {
        let now = clock::now();
        let found = api_keys::find_valid(&self.db, hash, now);
        let found = tokio::time::timeout(self.config.database_budget, found).await;
        let late = |_| DbError::TimedOut { operation: "look up a key", after: self.config.database_budget };
        Ok(found.map_err(late)??.map(|key| Known {
            principal: Principal { key_id: key.id, scopes: key.scopes },
            expires_at: key.expires_at,
            found_at: now,
        }))
    }

    /// Returns the result without Postgres.
    fn unverified(&self, hash: &[u8]) -> Verdict {
        let now = clock::now();
        let mut remembered = self.remembered();
        remembered.good.retain(|_, key| {
            now < key.found_at + self.config.remembered_for && key.expires_at.is_none_or(|end| now < end)
        });
        Verdict::allow(match remembered.good.get(hash) {
            Some(known) => Caller::Known(known.principal.clone()),
            None => Caller::Unverified { unverified: true },
        })
    }

    fn was_refused(&self, hash: &[u8]) -> bool {
        let refused = self.remembered().refused.get(hash).copied();
        refused.is_some_and(|at| clock::now() < at + self.config.remembered_for)
    }

    fn remember_refused(&self, hash: Vec<u8>) {
        let now = clock::now();
        let mut remembered = self.remembered();
        remembered.good.remove(&hash);
        if remembered.refused.len() >= MAX_REFUSED {
            remembered.refused.retain(|_, at| now < *at + self.config.remembered_for);
        }
        if remembered.refused.len() >= MAX_REFUSED {
            remembered.refused.clear();
        }
        remembered.refused.insert(hash, now);
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
