//! GET /messages/{id}: a message, the tries to hand it to Twilio, and its way to the handset.
//!
//! Reads Postgres (`sms_messages`, `sms_send_attempts`, `sms_message_status_events`).

use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, messages};
use common::domain::metadata::Metadata;
use common::http::{ApiError, Reply, Request, Scope, ValidationError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
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

    /// Connects ahead of the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// A message with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MessageDetails {
    /// Its id.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Its sender; null while a messaging service has not said whom it chose.
    pub from_number: Option<String>,
    /// Its recipient.
    pub to_number: String,
    /// The messaging service it goes through.
    pub messaging_service_sid: Option<String>,
    /// Its text.
    pub message_content: String,
    /// Its text once more, under the name that older callers read.
    pub content: String,
    /// Its files.
    pub media: Vec<Media>,
    /// Twilio's id, once there is one. A message may be created there more than once: this is the latest, `attempts` has all.
    pub twilio_sid: Option<String>,
    /// Where it stands.
    #[schema(value_type = common::domain::message::Status)]
    pub delivery_status: String,
    /// Why it failed, or why it is still pending: Twilio's number, or a word of ours.
    pub error_code: Option<String>,
    /// `GSM-7` or `UCS-2`, of what we send.
    #[schema(value_type = Option<common::domain::segments::Encoding>)]
    pub encoding: Option<String>,
    /// How many segments it costs, of what we send.
    pub segments: Option<i32>,
    /// `en`, `es`, `pt` or `unknown`.
    pub language: String,
    /// How sure that is, 0 to 1.
    pub language_confidence: f64,
    /// `opt_out`, `unsure` or `none`: whether it refuses messages. Only `opt_out` stops them. Null for what we send, and for
    /// messages from before this was recorded.
    pub opt_out: Option<String>,
    /// How urgent it is.
    #[schema(value_type = common::domain::message::Priority)]
    pub priority: String,
    /// The workflow that asked for it.
    pub workflow_type: Option<String>,
    /// That workflow's instance.
    pub workflow_id: Option<String>,
    /// What the caller wanted kept with it.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// Not after.
    pub send_before: Option<Timestamp>,
    /// When it is tried next at the earliest, while it is `pending`: at `send_at`, after the recipient's quiet hours, or after
    /// a try that came to nothing. Null while it is being handed over.
    pub next_attempt_at: Option<Timestamp>,
    /// Since when it is left to a person to find out what became of it, while it is `unknown`.
    pub parked_at: Option<Timestamp>,
    /// When it came or was asked for.
    pub created_at: Timestamp,
    /// The tries to hand it to Twilio, first one first.
    pub attempts: Vec<Attempt>,
    /// What Twilio said of it, in the order of arrival.
    pub status_history: Vec<StatusEvent>,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Media {
    /// Where it is. What came in is at Twilio, behind its credentials.
    pub url: String,
    /// Its type, where Twilio said it.
    pub content_type: Option<String>,
}

/// A try to hand a message to Twilio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The first is 1.
    pub number: i32,
    /// `accepted`, `not_processed`, `rejected` or `unknown`; null while it lasts.
    pub outcome: Option<String>,
    /// Twilio's id, if it took the message.
    pub twilio_sid: Option<String>,
    /// Twilio's error code, or a word of ours.
    pub error_code: Option<String>,
    /// What happened, for a person.
    pub detail: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What Twilio said of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusEvent {
    /// Twilio's word, verbatim.
    pub status: String,
    /// Twilio's error code.
    pub error_code: Option<String>,
    /// The id under which Twilio said it.
    pub twilio_sid: String,
    /// Whether a final status was known already and this one says otherwise.
    pub contradicts: bool,
    /// When it arrived.
    pub at: Timestamp,
}

impl MessageDetails {
    fn new(message: messages::Message) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: message.id,
            conversation_id: message.conversation_id,
            direction: message.direction,
            from_number: message.from_number,
            to_number: message.to_number,
            messaging_service_sid: message.messaging_service_sid,
            content: message.message_content.clone(),
            message_content: message.message_content,
            media: serde_json::from_value(message.media)?,
            twilio_sid: message.twilio_sid,
            delivery_status: message.delivery_status,
            error_code: message.error_code,
            encoding: message.encoding,
            segments: message.segments,
            language: message.language,
            language_confidence: message.language_confidence,
            opt_out: message.opt_out,
            priority: message.priority,
            workflow_type: message.workflow_type,
            workflow_id: message.workflow_id,
            metadata: message.metadata,
            send_at: message.send_at,
            send_before: message.send_before,
            next_attempt_at: message.next_attempt_at,
            parked_at: message.parked_at,
            created_at: message.created_at,
            attempts: serde_json::from_value(message.attempts)?,
            status_history: serde_json::from_value(message.history)?,
        })
    }
}

/// Reads a message.
///
/// # Errors
///
/// [`ApiError`]: 400 when the id is none, 403, 404, or 503 when Postgres can't be read.
#[utoipa::path(
    get, path = "/messages/{id}", tag = "messages",
    operation_id = "get_message",
    summary = "Read a message",
    description = "One message with the tries to hand it to Twilio and what Twilio said of it. \
                   Scope: `messages:read`.",
    params(("id" = Uuid, Path, description = "The message's id.")),
    responses(
        (status = 200, description = "The message.", body = MessageDetails),
        (status = 400, description = "`sms.validation_error`: the id is not a UUID.",
            body = common::http::ErrorEnvelope),
        (status = 403, description = "`sms.forbidden`: the key lacks `messages:read`.",
            body = common::http::ErrorEnvelope),
        (status = 404, description = "`sms.not_found`: there is no such message.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: try again.", body = common::http::ErrorEnvelope),
    ),
    security(("api_key" = ["messages:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesRead).await?;
    let id = request.path_parameter("id")?;
    let id: Uuid = id.parse().map_err(|_| ValidationError::field("id", "is not a UUID"))?;
    let message = messages::find(&app.db, id).await?.ok_or(ApiError::NotFound("the message"))?;
    Reply::json(200, &MessageDetails::new(message).map_err(ApiError::internal)?)
}
