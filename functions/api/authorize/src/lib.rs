//! The gateway's Lambda authorizer (payload format 2.0, simple responses): who holds a key, and what it allows.
//!
//! Reads `api_keys`. The gateway keeps the answer for a while and hands `context` on to the function behind the route.
//! A text that can't be a key is refused without asking Postgres; when Postgres can't be asked the answer is a function
//! error: the gateway then says 500 and, unlike a refusal, does not remember it.
//!
//! Format: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use common::config::{ConfigError, Env};
use common::db::{DatabaseConfig, Db, DbError, api_keys};
use common::http::Principal;
use common::{clock, telemetry};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming every variable at fault.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&common::config::process)
    }

    /// Reads what `lookup` knows.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming every variable at fault.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Env::new(lookup);
        let database = DatabaseConfig::for_answers(&mut env);
        env.finish(|| Some(Self { database: database? }))
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
        let (scheme, key) = value.trim().split_once(' ')?;
        let key = key.trim_start();
        (scheme.eq_ignore_ascii_case("bearer") && api_keys::is_well_formed(key)).then_some(key)
    }
}

/// What the gateway is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    is_authorized: bool,
    /// Handed on to the function behind the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Principal>,
}

impl Verdict {
    const REFUSED: Self = Self { is_authorized: false, context: None };
}

/// Looks the caller's key up.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be asked: nothing is known of the key then.
pub async fn handle(app: &App, question: Question) -> Result<Verdict, DbError> {
    let span = telemetry::request(&question.request_context.request_id);
    let Some(key) = question.key() else {
        span.in_scope(|| tracing::info!("refused: no key of ours in the header"));
        return Ok(Verdict::REFUSED);
    };
    match api_keys::find_valid(&app.db, &api_keys::hash(key), clock::now()).await? {
        Some(key) => Ok(Verdict {
            is_authorized: true,
            context: Some(Principal { key_id: key.id, scopes: key.scopes }),
        }),
        None => {
            span.in_scope(|| tracing::info!("refused: unknown, revoked or expired key"));
            Ok(Verdict::REFUSED)
        }
    }
}
