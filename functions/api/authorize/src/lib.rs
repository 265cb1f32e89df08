//! The gateway's Lambda authorizer (payload format 2.0, simple responses): who holds a key, and what it allows.
//!
//! Reads `api_keys`. The gateway keeps the answer for a while and hands `context` on to the function behind the route.
//! A text that can't be a key, and a key that was refused within `KEY_CACHE_SECONDS`, are refused without asking Postgres;
//! the process connects only for the first text that may be a key. A refusal is one line in the log, with its metric.
//!
//! When Postgres can't be asked, a key that this process has found good within `KEY_CACHE_SECONDS` stays good, and any other
//! is handed on as unverified: the function behind the route looks for itself (`caller`), and answers 503 while it can't either, where a
//! failed authorizer would make the gateway say 500. The gateway may remember this for its minute; nobody waits for that.
//!
//! Format: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, api_keys};
use common::http::{Caller, Principal, null_as_default};
use common::telemetry::{self, Metric};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tracing::Instrument;

/// Configuration: what [`DatabaseConfig`] reads; `DATABASE_BUDGET_MS` (3000), all the time that Postgres may take for one
/// key (API Gateway waits 10 s for an authorizer, and the function behind the route asks again); `KEY_CACHE_SECONDS` (60), how long an answer about a key is remembered.
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

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
    database_budget: Duration,
    remembered_for: Duration,
    remembered: Mutex<Remembered>,
}

/// What Postgres said about keys, by their hashes.
#[derive(Debug, Default)]
struct Remembered {
    /// Asked only while Postgres can't be. There are at most as many as valid keys.
    good: HashMap<Vec<u8>, Known>,
    /// When they were refused. A key that was refused does not become good: keys are random, and a revocation is final.
    refused: HashMap<Vec<u8>, Timestamp>,
}

/// A key that was found good.
#[derive(Debug, Clone)]
struct Known {
    principal: Principal,
    expires_at: Option<Timestamp>,
    found_at: Timestamp,
}

/// How many refused keys are remembered: less than a megabyte.
const MAX_REFUSED: usize = 4_096;

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
            remembered_for: config.remembered_for,
            remembered: Mutex::default(),
        })
    }
}

/// What the gateway asks; only what is read is declared.
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
        return Ok(span.in_scope(|| refuse("no key of ours in the header")));
    };
    let hash = api_keys::hash(key);
    if app.was_refused(&hash) {
        return Ok(span.in_scope(|| refuse("a key that was refused before")));
    }
    let found = app.find(&hash).instrument(span.clone()).await;
    let _request = span.entered();
    match found {
        Ok(Some(known)) => {
            let principal = known.principal.clone();
            app.remembered().good.insert(hash, known);
            Ok(Verdict::hand_on(Caller::Known(principal)))
        }
        Ok(None) => {
            app.remember_refused(hash);
            Ok(refuse("unknown, revoked or expired key"))
        }
        Err(error) if error.is_unavailable() => {
            telemetry::count(Metric::ApiFailures, 1);
            tracing::error!(error = common::error::chain(&error), "the keys cannot be read");
            Ok(app.unverified(&hash))
        }
        Err(error) => Err(error),
    }
}

/// Refuses a key. This is the last line of the invocation.
fn refuse(reason: &str) -> Verdict {
    telemetry::count(Metric::KeysRefused, 1);
    tracing::info!(name: telemetry::LAST_LINE, reason, "refused");
    Verdict::REFUSED
}

impl App {
    async fn find(&self, hash: &[u8]) -> Result<Option<Known>, DbError> {
        let now = clock::now();
        let found = api_keys::find_valid(&self.db, hash, now);
        let found = tokio::time::timeout(self.database_budget, found).await;
        let late = |_| DbError::TimedOut { operation: "look a key up", after: self.database_budget };
        Ok(found.map_err(late)??.map(|key| Known {
            principal: Principal { key_id: key.id, scopes: key.scopes },
            expires_at: key.expires_at,
            found_at: now,
        }))
    }

    /// Answers without Postgres.
    fn unverified(&self, hash: &[u8]) -> Verdict {
        let now = clock::now();
        let mut remembered = self.remembered();
        remembered.good.retain(|_, key| {
            now < key.found_at + self.remembered_for && key.expires_at.is_none_or(|end| now < end)
        });
        Verdict::hand_on(match remembered.good.get(hash) {
            Some(known) => Caller::Known(known.principal.clone()),
            None => Caller::Unverified { unverified: true },
        })
    }

    fn was_refused(&self, hash: &[u8]) -> bool {
        let refused = self.remembered().refused.get(hash).copied();
        refused.is_some_and(|at| clock::now() < at + self.remembered_for)
    }

    fn remember_refused(&self, hash: Vec<u8>) {
        let now = clock::now();
        let mut remembered = self.remembered();
        remembered.good.remove(&hash);
        if remembered.refused.len() >= MAX_REFUSED {
            remembered.refused.retain(|_, at| now < *at + self.remembered_for);
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
