//! GET /events: returns the event log by cursor, and waits for new events (long polling).
//!
//! Reads Postgres (`sms_events`), after it has numbered the committed events (`sms_events_pending`).

mod page;

pub use page::{MAX_WAIT_SECONDS, Page};

use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError};
use common::http::{
    self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, ValidationError, responses,
};
use common::service::caller;
use common::service::events::{self, ReadError};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// Configuration, read from the environment: the variables of [`DatabaseConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    /// `EVENTS_POLL_MAX_MS`: the longest interval between two reads of a request that waits. Default: 1000.
    longest_interval: Duration,
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let longest_interval = env.millis("EVENTS_POLL_MAX_MS", 50..=10_000, 1_000);
        let database = DatabaseConfig::for_answers(env);
        Some(Self { longest_interval: longest_interval?, database: database? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    longest_interval: Duration,
    db: Db,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: Config) -> Result<Self, DbError> {
        Ok(Self { longest_interval: config.longest_interval, db: Db::new(&config.database)? })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// The body of an event, which is stored as text. `webhooks` has the schema of each type.
#[derive(Debug, ToSchema)]
pub struct LoggedEvent {
    /// Event id, the same in every delivery.
    pub id: Uuid,
    /// Type of the event.
    pub r#type: String,
    /// When the change was made.
    pub timestamp: Timestamp,
    /// Conversation id, if the event is about one.
    pub conversation_id: Option<Uuid>,
    /// Number of the event in its conversation: 1, 2, 3 … without gaps.
    #[schema(minimum = 1)]
    pub conversation_sequence: Option<i64>,
    /// Message id, if the event is about one message.
    pub message_id: Option<Uuid>,
    /// Tenant of the conversation, if it is known.
    pub tenant_id: Option<String>,
    /// Workflow of the message, or else of the conversation, if there is one.
    pub workflow_type: Option<String>,
    /// Data of the type.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// A page of the event log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    /// Bodies of the events, in the order of the log. An event has the same text in every response.
    #[schema(value_type = Vec<LoggedEvent>)]
    pub events: Vec<Box<RawValue>>,
    /// The `after` of the next page, also if there are no more events yet.
    pub next_cursor: String,
    /// Whether the log continues. The rest may contain no event that matches the filters.
    pub has_more: bool,
}

impl EventList {
    fn new(page: events::Page) -> Result<Self, ApiError> {
        let events = page.events.into_iter();
        let bodies: Result<Vec<_>, _> = events.map(|event| RawValue::from_string(event.body)).collect();
        Ok(Self {
            events: bodies.map_err(ApiError::internal)?,
            next_cursor: page.next.to_string(),
            has_more: page.has_more,
        })
    }
}

/// Lists events.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid parameters, 403, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/events", tag = "events",
    operation_id = "list_events",
    summary = "List events",
    description = "Returns the event log, oldest first, without gaps: a reader that passes each `next_cursor` as \
                   `after` gets every event once, also those of transactions that end late. All given filters \
                   must match; the cursor is valid with any filters. A cursor that is older than the oldest kept \
                   event begins there. \
                   Scope: `events:read`.",
    params(
        ("after" = Option<String>, Query, min_length = 1,
            description = "The `next_cursor` of the previous page. Default: the oldest \
            kept event."),
        ("types" = Option<String>, Query, description = "Types, separated by commas.",
            example = "message.received,contact.opted_out"),
        ("workflow_type" = Option<String>, Query, min_length = 1,
            description = "Events of this workflow.", example = "collections"),
        ("tenant_id" = Option<String>, Query, min_length = 1, description = "Events of this tenant.", example = "t-42"),
        ("conversation" = Option<uuid::Uuid>, Query, description = "Events of this conversation, by its id."),
        ("wait" = Option<u32>, Query, minimum = 0, maximum = 20, description = "Seconds to wait if there is no event \
            yet (long polling); default 0."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Events per page; default 100."),
    ),
    responses(
        (status = 200, description = "A page of events.", body = EventList,
        example = json!({
            "events": [{
                "id": "01900000-0000-7000-8000-00000000000a", "type": "message.status",
                "timestamp": "2026-11-01T12:00:03.120Z",
                "conversation_id": "01900000-0000-7000-8000-00000000000c", "conversation_sequence": 7,
                "message_id": "01900000-0000-7000-8000-00000000000d", "tenant_id": "t-42",
                "workflow_type": "collections",
                "data": {"status": "delivered", "previous_status": "sent", "error_code": null, "parked": false}
            }],
            "next_cursor": "AQAAAAAAAAAqzcg7Ng", "has_more": false
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::Unavailable,
    ),
    security(("api_key" = ["events:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::EventsRead).await?;
    let Page { filter, after, wait, limit } = Page::from_query(request.query())?;
    let page =
        events::read_or_wait(&app.db, &filter, after, limit as usize, wait, app.longest_interval).await;
    let page = page.map_err(|error| match error {
        ReadError::Cursor(error) => ValidationError::field("after", error.to_string()).into(),
        ReadError::Db(error) => ApiError::from(error),
    })?;
    http::json(StatusCode::OK, &EventList::new(page)?)
}
