//! GET /events/stream: sends the event log as Server-Sent Events while it grows.
//!
//! Runs behind a function URL that streams responses, so it verifies the key or the stream token itself. Reads Postgres
//! (`api_keys`, `stream_tokens`; `sms_events`, after it has numbered the committed events) and holds no connection of
//! the pool between two reads.
//!
//! A stream ends cleanly after `EVENTS_STREAM_MAX_MS`, before the function's timeout. The client connects again with
//! the cursor of the last event (`Last-Event-ID`), so that no event is lost or repeated.

mod format;
mod query;
mod writer;

pub use query::Query;

use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError};
use common::http::{
    self, ApiError, HeaderValue, HttpRequestExt, Method, Request, RequestExt, Scope, StatusCode, Streamed,
    ValidationError, responses,
};
use common::service::caller;
use common::service::events::{self, ReadError};
use std::time::{Duration, Instant};

/// The only path of the function URL.
const PATH: &str = "/events/stream";

/// How many events are read, and sent in one chunk, at a time.
const PAGE: usize = 100;

/// Configuration, read from the environment: the variables of [`DatabaseConfig`], and `Pace`.
#[derive(Debug, Clone)]
pub struct Config {
    pace: Pace,
    database: DatabaseConfig,
}

/// The times of a stream.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// `EVENTS_POLL_MAX_MS`: the longest interval between two reads of the log. Default: 1000.
    longest_interval: Duration,
    /// `EVENTS_STREAM_MAX_MS`: how long after the request the stream ends. Default: 55 000.
    stream: Duration,
    /// `EVENTS_STREAM_HEARTBEAT_MS`: the longest time without a byte while there are no events. Default: 15 000.
    heartbeat: Duration,
    /// `EVENTS_STREAM_RETRY_MS`: when clients connect again after the end. Default: 1000.
    retry: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let longest_interval = env.millis("EVENTS_POLL_MAX_MS", 50..=10_000, 1_000);
        let stream = env.millis("EVENTS_STREAM_MAX_MS", 100..=840_000, 55_000);
        let heartbeat = env.millis("EVENTS_STREAM_HEARTBEAT_MS", 50..=60_000, 15_000);
        let retry = env.millis("EVENTS_STREAM_RETRY_MS", 50..=60_000, 1_000);
        let database = DatabaseConfig::for_answers(env);
        let (longest_interval, stream) = (longest_interval?, stream?);
        let pace = Pace { longest_interval, stream, heartbeat: heartbeat?, retry: retry? };
        Some(Self { pace, database: database? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    pace: Pace,
    db: Db,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: Config) -> Result<Self, DbError> {
        Ok(Self { pace: config.pace, db: Db::new(&config.database)? })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// Streams events.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid parameters, 401, 403, 404 or 405 for another path or method, or 503 when Postgres
/// is unavailable.
#[utoipa::path(
    get, path = "/events/stream", tag = "events",
    operation_id = "stream_events",
    summary = "Stream events",
    description = "Sends the event log as Server-Sent Events, oldest first, and then each new event soon after its \
                   commit. Has a URL of its own: the output `EventStreamUrl` of the deployment. The filters are \
                   those of `GET /events`.\n\n\
                   `id` is the cursor, `event` the type, and `data` the body, the same text as in `GET /events` and \
                   in webhooks. The stream ends after about a minute. The client then connects again and sends the \
                   last `id` as `Last-Event-ID`, which an `EventSource` does by itself; no event is lost or repeated. \
                   Every 15 seconds without an event there is a comment; an `id` without `data`, as the standard \
                   allows, passes events that the filters exclude.\n\n\
                   Browsers cannot send a key: use a `token` of `POST /events/stream-token`. It expires after a \
                   minute, so on an `error` create a new token and pass the last `id` as `after`. \
                   Scope: `events:read`.",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event. Takes precedence over \
            `after`."),
        ("after" = Option<String>, Query, min_length = 1,
            description = "An `id`, or a `next_cursor` of `GET /events`. Default: the \
            oldest kept event."),
        ("types" = Option<String>, Query, description = "Types, separated by commas.",
            example = "message.received,contact.opted_out"),
        ("workflow_type" = Option<String>, Query, min_length = 1,
            description = "Events of this workflow.", example = "collections"),
        ("tenant_id" = Option<String>, Query, min_length = 1, description = "Events of this tenant.", example = "t-42"),
        ("conversation" = Option<uuid::Uuid>, Query, description = "Events of this conversation, by its id."),
    ),
    responses(
        (status = 200, description = "Events, until the stream ends.", body = String,
        content_type = "text/event-stream",
        example = "retry: 1000\nid: AQAAAAAAAAAqzcg7Ng\nevent: message.status\ndata: {\"id\":\"01900000-0000-7000-8000-\
            00000000000a\",\"type\":\"message.status\",\"timestamp\":\"2026-11-01T12:00:03.12Z\",\
            \"conversation_id\":\"01900000-0000-7000-8000-00000000000c\",\"conversation_sequence\":7,\
            \"data\":{\"status\":\"delivered\",\"previous_status\":\"sent\",\"error_code\":null,\"parked\":false}}\n\n\
            : heartbeat\n"),
        responses::InvalidRequest,
        responses::NotAuthorized,
        responses::MissingScope,
        responses::Unavailable,
    ),
    security(("api_key" = ["events:read"]), ("stream_token" = [])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Streamed, ApiError> {
    let began = Instant::now();
    if request.raw_http_path() != PATH {
        return Err(ApiError::NotFound("a stream at this path"));
    }
    if request.method() != Method::GET {
        return Err(ApiError::MethodNotAllowed { allowed: "GET" });
    }
    authorize(app, request).await?;
    let Query { filter, after, after_name } = Query::read(request)?;
    // Read before the status is sent, so that a wrong cursor and an outage get their own status.
    let first = events::read(&app.db, &filter, after, PAGE).await.map_err(|error| match error {
        ReadError::Cursor(error) => ValidationError::field(after_name, error.to_string()).into(),
        ReadError::Db(error) => ApiError::from(error),
    })?;
    let mut response = http::text(StatusCode::OK, "text/event-stream", "");
    let headers = response.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    // Pages of any origin may read the stream: what authorizes them is in the URL, and not a cookie.
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    let (db, pace) = (app.db.clone(), app.pace);
    Ok(Streamed::new(response, |sender| writer::write(db, pace, filter, first, after, sender, began)))
}

/// Verifies the key in the header, or else the token in the query.
async fn authorize(app: &App, request: &Request) -> Result<(), ApiError> {
    let token = request.query().find(|(name, _)| name == "token").map(|(_, token)| token);
    match token {
        Some(token) if request.header("authorization").is_none() => {
            caller::verify_token(&app.db, &token, Scope::EventsRead).await?
        }
        _ => caller::verify(&app.db, request, Scope::EventsRead).await?,
    };
    Ok(())
}
