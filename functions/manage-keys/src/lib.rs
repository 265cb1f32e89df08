//! Invoked directly, by an operator: makes, lists and revokes keys of the API.
//!
//! | payload | answer |
//! |---|---|
//! | `{"action": "create", "name", "scopes": […], "expires_at"?}` | the key's description with the `key`, shown this once |
//! | `{"action": "list"}` | `{"keys": […]}`, the revoked and expired ones too |
//! | `{"action": "revoke", "id"}` | the key's description |
//!
//! Only the SHA-256 of a key is stored. A revoked key may go on working until the gateway's authorizer cache forgets it.

mod command;

pub use command::Command;

use common::clock;
use common::config::{Configuration, Env};
use common::db::api_keys::{self, ApiKey};
use common::db::{DatabaseConfig, Db, DbError};
use common::http::ValidationError;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

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

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The payload can't be taken as it is.
    #[error("the payload is not valid: {}", sentences(.0))]
    Invalid(ValidationError),
    /// No key has this id.
    #[error("there is no key {0}")]
    NotFound(Uuid),
    /// Postgres didn't do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ValidationError> for KeyError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

fn sentences(error: &ValidationError) -> String {
    let sentences: Vec<String> =
        error.fields().iter().map(|problem| format!("{} {}", problem.field, problem.reason)).collect();
    sentences.join("; ")
}

/// A key, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Its id, to revoke it by.
    pub id: Uuid,
    /// The key itself, when it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who holds it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Description {
    fn new(key: ApiKey, secret: Option<String>) -> Self {
        let ApiKey { id, name, scopes, expires_at, revoked_at, created_at } = key;
        let scopes = scopes.split_whitespace().map(str::to_owned).collect();
        Self { id, key: secret, name, scopes, created_at, expires_at, revoked_at }
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The key that was made or revoked.
    One(Description),
    /// All keys.
    All {
        /// In the order in which they were made.
        keys: Vec<Description>,
    },
}

/// Reads a command and does it.
///
/// # Errors
///
/// [`KeyError`], naming every field at fault.
pub async fn handle(app: &App, payload: Value) -> Result<Answer, KeyError> {
    let now = clock::now();
    match Command::from_payload(payload, now)? {
        Command::Create { name, scopes, expires_at } => {
            let secret = api_keys::generate();
            let scopes: Vec<&str> = scopes.into_iter().map(common::http::Scope::as_str).collect();
            let scopes = scopes.join(" ");
            let key =
                ApiKey { id: clock::new_id(), name, scopes, expires_at, revoked_at: None, created_at: now };
            api_keys::create(&app.db, &key, &api_keys::hash(&secret)).await?;
            tracing::info!(key_id = %key.id, scopes = key.scopes, "key made");
            Ok(Answer::One(Description::new(key, Some(secret))))
        }
        Command::List => {
            let keys = api_keys::list(&app.db).await?;
            Ok(Answer::All { keys: keys.into_iter().map(|key| Description::new(key, None)).collect() })
        }
        Command::Revoke { id } => {
            let key = api_keys::revoke(&app.db, id, now).await?.ok_or(KeyError::NotFound(id))?;
            tracing::info!(key_id = %id, "key revoked");
            Ok(Answer::One(Description::new(key, None)))
        }
    }
}
