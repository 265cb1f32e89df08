//! POST /events/stream-token: creates a token that stands for the caller's key in the URL of an event stream.
//!
//! Writes Postgres (`stream_tokens`). Only the token's hash is stored.

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, api_keys, stream_tokens};
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// How long a token can open streams.
const VALID_FOR: SignedDuration = SignedDuration::from_secs(60);

/// Configuration, read from the environment: the variables of [`DatabaseConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        Some(Self { database: DatabaseConfig::for_answers(env)? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)? })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// A token for event streams.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamToken {
    /// The value of the parameter `token` of `GET /events/stream`. It is shown once.
    #[schema(pattern = "^smst_[0-9A-Za-z]{43}$")]
    pub token: String,
    /// Until when it opens streams. A stream that has begun then continues to its end.
    pub expires_at: Timestamp,
}

/// Creates a token.
///
/// # Errors
///
/// [`ApiError`]: 403, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/events/stream-token", tag = "events",
    operation_id = "create_stream_token",
    summary = "Create a stream token",
    description = "Creates a token that stands for the key in the URL of `GET /events/stream`, for browsers, whose \
                   `EventSource` cannot send a key. It opens streams for 60 seconds, and only while the key is valid. \
                   Scope: `events:read`.",
    responses(
        (status = 201, description = "The token.", body = StreamToken,
        example = json!({
            "token": "smst_0123456789abcdefghijABCDEFGHIJ0123456789abc", "expires_at": "2026-11-01T12:01:00Z"
        })),
        responses::MissingScope,
        responses::Unavailable,
    ),
    security(("api_key" = ["events:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::EventsRead).await?;
    let (token, now) = (stream_tokens::generate(), clock::now());
    let expires_at = now + VALID_FOR;
    stream_tokens::create(&app.db, &api_keys::hash(&token), caller.key_id, expires_at, now).await?;
    http::json(StatusCode::CREATED, &StreamToken { token, expires_at })
}
