//! GET /messages/{id}: returns a message with its send attempts and its status history.
//!
//! Reads Postgres (`sms_messages`, `sms_send_attempts`, `sms_message_status_events`).

pub use common::service::endpoint::{App, Config};

use common::db::messages;
use common::domain::ids::{BatchId, ConversationId, MessageId};
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::message::{AttemptOutcome, Direction, Priority, Purpose, Status};
use common::domain::metadata::Metadata;
use common::domain::segments::Encoding;
use common::domain::sids::MessageSid;
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::media::Media;
use common::service::{caller, message};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A message with its attempts and status history.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01900000-0000-7000-8000-00000000000d", "conversation_id": "01900000-0000-7000-8000-00000000000c",
    "direction": "outbound", "from_number": "+12025550100", "to_number": "+12025550123",
    "messaging_service_sid": null, "replaced_from": null, "batch_id": null,
    "message_content": "Your rent is due on the 1st.", "content": "Your rent is due on the 1st.", "media": [],
    "twilio_sid": "SM0123456789abcdef0123456789abcdef", "delivery_status": "delivered", "error_code": null,
    "encoding": "GSM-7", "segments": 1, "language": "unknown", "language_confidence": 0.0, "opt_out": null,
    "priority": "normal", "purpose": "service", "workflow_type": "collections", "workflow_id": "case-17",
    "metadata": {"unit": "4B"}, "send_at": null, "send_before": null, "next_attempt_at": null, "parked_at": null,
    "created_at": "2026-11-01T12:00:00Z",
    "attempts": [{"number": 1, "outcome": "accepted", "twilio_sid": "SM0123456789abcdef0123456789abcdef",
        "error_code": null, "detail": null, "started_at": "2026-11-01T12:00:00.2Z",
        "finished_at": "2026-11-01T12:00:00.4Z"}],
    "status_history": [{"status": "delivered", "error_code": null,
        "twilio_sid": "SM0123456789abcdef0123456789abcdef", "contradicts": false, "at": "2026-11-01T12:00:03Z"}]
}))]
pub struct MessageDetails {
    /// Message id.
    #[schema(value_type = uuid::Uuid)]
    pub id: MessageId,
    /// Conversation id.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// `inbound` or `outbound`.
    #[schema(value_type = String)]
    pub direction: Direction,
    /// Sender; null until the messaging service has chosen one.
    pub from_number: Option<String>,
    /// Recipient.
    pub to_number: String,
    /// Messaging service that sends the message.
    pub messaging_service_sid: Option<String>,
    /// Sender that the conversation used before, if the request named none and that sender was not configured any more.
    pub replaced_from: Option<String>,
    /// Batch of a bulk request.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub batch_id: Option<BatchId>,
    /// Text.
    pub message_content: String,
    /// Same as `message_content`, for older clients.
    pub content: String,
    /// Files.
    pub media: Vec<Media>,
    /// Twilio's SID of the latest attempt; null before the first. `attempts` lists all of them.
    #[schema(value_type = Option<String>)]
    pub twilio_sid: Option<MessageSid>,
    /// Delivery status.
    pub delivery_status: Status,
    /// Reason for a failure or a delay: an error code of Twilio or of this service.
    pub error_code: Option<String>,
    /// Encoding of an outbound message: `GSM-7` or `UCS-2`.
    pub encoding: Option<Encoding>,
    /// Number of segments of an outbound message.
    pub segments: Option<i32>,
    /// Detected language: `en`, `es`, `pt` or `unknown`. Of a bulk message: the language of the chosen text.
    #[schema(value_type = String)]
    pub language: Language,
    /// Confidence of the detected language, 0 to 1.
    pub language_confidence: f64,
    /// Whether the message is an opt-out: `opt_out`, `unsure` or `none`. Only `opt_out` stops messages. Null for
    /// outbound messages and for messages older than this field.
    #[schema(value_type = Option<String>)]
    pub opt_out: Option<OptOut>,
    /// Priority.
    pub priority: Priority,
    /// What an outbound message is for.
    pub purpose: Purpose,
    /// Workflow that requested the message.
    pub workflow_type: Option<String>,
    /// Instance of the workflow.
    pub workflow_id: Option<String>,
    /// Metadata from the request.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
    /// Earliest time to send.
    pub send_at: Option<Timestamp>,
    /// Latest time to send; after that the message fails.
    pub send_before: Option<Timestamp>,
    /// Earliest time of the next attempt of a `pending` message: `send_at`, the end of the recipient's quiet hours, the
    /// next day if the sender's daily limit is used up, or the next retry. Null during an attempt, and while its batch
    /// is paused.
    pub next_attempt_at: Option<Timestamp>,
    /// Time since which an `unknown` message waits for an operator.
    pub parked_at: Option<Timestamp>,
    /// Time of receipt, or of the request to send.
    pub created_at: Timestamp,
    /// Send attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Status callbacks of Twilio, in the order of arrival.
    pub status_history: Vec<StatusEvent>,
}

/// An attempt to send a message through Twilio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Number of the attempt, starting at 1.
    pub number: i32,
    /// `accepted`, `not_processed`, `rejected` or `unknown`; null during the attempt.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<AttemptOutcome>,
    /// Twilio's SID, if it accepted the message.
    #[schema(value_type = Option<String>)]
    pub twilio_sid: Option<MessageSid>,
    /// Error code of Twilio or of this service.
    pub error_code: Option<String>,
    /// Description of the outcome.
    pub detail: Option<String>,
    /// Start time.
    pub started_at: Timestamp,
    /// End time.
    pub finished_at: Option<Timestamp>,
}

/// A status callback of Twilio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusEvent {
    /// Twilio's message status, unchanged.
    pub status: String,
    /// Twilio's error code.
    pub error_code: Option<String>,
    /// Twilio's SID of the message.
    #[schema(value_type = String)]
    pub twilio_sid: MessageSid,
    /// Whether it contradicts a final status that was recorded before.
    pub contradicts: bool,
    /// Time of arrival.
    pub at: Timestamp,
}

impl MessageDetails {
    fn new(message: messages::MessageDetails) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: message.id,
            conversation_id: message.conversation_id,
            direction: message.direction,
            from_number: message.from_number,
            to_number: message.to_number,
            messaging_service_sid: message.messaging_service_sid,
            replaced_from: message.replaced_from,
            batch_id: message.batch_id,
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
            purpose: message.purpose,
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

/// Returns a message.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/messages/{id}", tag = "messages",
    operation_id = "get_message",
    summary = "Get a message",
    description = "Returns a message with its send attempts and its status history. \
                   Scope: `messages:read`.",
    params(("id" = uuid::Uuid, Path, description = "Message id.")),
    responses(
        (status = 200, description = "The message.", body = MessageDetails),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesRead).await?;
    let id = message::id(request)?;
    let message = messages::find(&app.db, id).await?.ok_or(ApiError::NotFound("the message"))?;
    http::json(StatusCode::OK, &MessageDetails::new(message).map_err(ApiError::internal)?)
}
