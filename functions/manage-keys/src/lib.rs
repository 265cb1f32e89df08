//! Creates, lists and revokes API keys. Invoked directly by an operator.
//!
//! | payload | response |
//! |---|---|
//! | `{"action": "create", "name", "scopes": […], "expires_at"?}` | the key's properties and, only here, the `key` itself |
//! | `{"action": "list"}` | `{"keys": […]}`, including revoked and expired ones |
//! | `{"action": "revoke", "id"}` | the key's properties |
//!
//! Only the SHA-256 of a key is stored. A revoked key can stay valid until its entry in the gateway's authorizer cache
//! expires.

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

/// Configuration, read from the environment.
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

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
}

impl App {
    /// Builds the state. It connects on the first invocation.
    ///
    /// # Errors
    ///
    /// [`DbError`] if TLS cannot be configured. The function should not start.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)? })
    }
}

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The payload is invalid.
    #[error("invalid payload: {}", .0.sentences())]
    Invalid(ValidationError),
    /// No key has this id.
    #[error("unknown key {0}")]
    NotFound(Uuid),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ValidationError> for KeyError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

/// The properties of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The id, for `revoke`.
    pub id: Uuid,
    /// The key itself. Only in the response to `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The owner.
    pub name: String,
    /// The scopes.
    pub scopes: Vec<String>,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Description {
    fn new(key: ApiKey, secret: Option<String>) -> Self {
        let ApiKey { id, name, scopes, expires_at, revoked_at, created_at } = key;
        let scopes = scopes.split_whitespace().map(str::to_owned).collect();
        Self { id, key: secret, name, scopes, created_at, expires_at, revoked_at }
    }
}

/// The response to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// The created or revoked key.
    One(Description),
    /// All keys.
    All {
        /// The keys by time of creation.
        keys: Vec<Description>,
    },
}

/// Executes the command in a payload.
///
/// # Errors
///
/// [`KeyError`]. Nothing was changed.
pub async fn handle(app: &App, payload: Value) -> Result<Response, KeyError> {
    let now = clock::now();
    match Command::from_payload(payload, now)? {
        Command::Create { name, scopes, expires_at } => {
            let secret = api_keys::generate();
            let scopes: Vec<&str> = scopes.into_iter().map(common::http::Scope::as_str).collect();
            let scopes = scopes.join(" ");
            let key =
                ApiKey { id: clock::new_id(), name, scopes, expires_at, revoked_at: None, created_at: now };
            api_keys::create(&app.db, &key, &api_keys::hash(&secret)).await?;
            tracing::info!(key_id = %key.id, scopes = key.scopes, "API key created");
            Ok(Response::One(Description::new(key, Some(secret))))
        }
        Command::List => {
            let keys = api_keys::list(&app.db).await?;
            Ok(Response::All { keys: keys.into_iter().map(|key| Description::new(key, None)).collect() })
        }
        Command::Revoke { id } => {
            let key = api_keys::revoke(&app.db, id, now).await?.ok_or(KeyError::NotFound(id))?;
            tracing::info!(key_id = %id, "API key revoked");
            Ok(Response::One(Description::new(key, None)))
        }
    }
}
