//! GET /conversations/{phone_number}: returns a conversation and a page of its messages.
//!
//! Reads Postgres (`sms_conversations`, `sms_messages`) in one round trip.

mod page;

pub use common::service::conversation::{App, Config};
pub use page::{Cursor, Page};

use common::db::conversations::{self, PageMessage};
use common::domain::ids::MessageId;
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::message::{Direction, Status};
use common::domain::sids::MessageSid;
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::conversation::Conversation;
use common::service::media::Media;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A conversation and a page of its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "phone_number_canonical": "+12025550123", "phone_number_original": "(202) 555-0123",
    "conversation_id": "01900000-0000-7000-8000-00000000000c", "tenant_id": "t-42", "tenant_candidates": null,
    "workflow_type": "collections", "workflow_id": "case-17", "conversation_status": "open",
    "time_zone": "America/Chicago", "language_detected": "es", "language_confidence": 0.75, "opted_out": false,
    "carrier_blocked_at": null, "number_deactivated_at": null, "last_message_at": "2026-11-01T12:00:03Z",
    "messages": [{"id": "01900000-0000-7000-8000-00000000000d", "direction": "inbound",
        "from_number": "+12025550123", "to_number": "+12025550100", "message_content": "No hay calefacción",
        "content": "No hay calefacción", "media": [], "twilio_sid": "SM0123456789abcdef0123456789abcdef",
        "delivery_status": "received", "error_code": null, "language": "es", "language_confidence": 0.75,
    "opt_out": "none", "created_at": "2026-11-01T12:00:03Z"}], "page": 1, "limit": 20, "offset": 0, "total": 1,
    "next_cursor": null
}))]
pub struct ConversationPage {
    #[serde(flatten)]
    conversation: Conversation,
    /// Messages of the page, newest first.
    pub messages: Vec<MessageSummary>,
    /// Page number, starting at 1; null for a cursor.
    pub page: Option<u64>,
    /// Maximum number of messages per page.
    pub limit: u32,
    /// Number of newer messages that were skipped; null for a cursor.
    pub offset: Option<u64>,
    /// Number of messages in the conversation.
    pub total: i64,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MessageSummary {
    /// Message id.
    #[schema(value_type = uuid::Uuid)]
    pub id: MessageId,
    /// `inbound` or `outbound`.
    #[schema(value_type = String)]
    pub direction: Direction,
    /// Sender; null until the messaging service has chosen one.
    pub from_number: Option<String>,
    /// Recipient.
    pub to_number: String,
    /// Text.
    pub message_content: String,
    /// Same as `message_content`, for older clients.
    pub content: String,
    /// Files.
    #[schema(value_type = Vec<Media>)]
    pub media: Value,
    /// Twilio's SID of the latest attempt; null before the first.
    #[schema(value_type = Option<String>)]
    pub twilio_sid: Option<MessageSid>,
    /// Delivery status.
    pub delivery_status: Status,
    /// Reason for a failure or a delay: an error code of Twilio or of this service.
    pub error_code: Option<String>,
    /// Detected language: `en`, `es`, `pt` or `unknown`.
    #[schema(value_type = String)]
    pub language: Language,
    /// Confidence of the detected language, 0 to 1.
    pub language_confidence: f64,
    /// Whether the message is an opt-out: `opt_out`, `unsure` or `none`. Only `opt_out` stops messages. Null for
    /// outbound messages and for messages older than this field.
    #[schema(value_type = Option<String>)]
    pub opt_out: Option<OptOut>,
    /// Time of receipt, or of the request to send.
    pub created_at: Timestamp,
}

impl From<PageMessage> for MessageSummary {
    fn from(message: PageMessage) -> Self {
        Self {
            id: message.id,
            direction: message.direction,
            from_number: message.from_number,
            to_number: message.to_number,
            content: message.message_content.clone(),
            message_content: message.message_content,
            media: message.media,
            twilio_sid: message.twilio_sid,
            delivery_status: message.delivery_status,
            error_code: message.error_code,
            language: message.language,
            language_confidence: message.language_confidence,
            opt_out: message.opt_out,
            created_at: message.created_at,
        }
    }
}

impl ConversationPage {
    /// Creates the page from its messages and one more, which shows whether there is a next page.
    fn new(conversation: conversations::Conversation, mut messages: Vec<PageMessage>, page: Page) -> Self {
        let shown = page.limit as usize;
        let is_last = messages.len() <= shown;
        messages.truncate(shown);
        let next_cursor = messages
            .last()
            .filter(|_| !is_last)
            .map(|message| Cursor { created_at: message.created_at, id: message.id }.to_string());
        Self {
            messages: messages.into_iter().map(MessageSummary::from).collect(),
            page: page.number(),
            limit: page.limit,
            offset: page.offset(),
            total: conversation.message_count,
            next_cursor,
            conversation: conversation.into(),
        }
    }
}

/// Returns a conversation and a page of its messages.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid parameters, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/conversations/{phone_number}", tag = "conversations",
    operation_id = "get_conversation",
    summary = "Get a conversation",
    description = "Returns a conversation and a page of its messages, newest first. With a cursor every page is \
                   equally fast, and no message is missed when new ones arrive in between. \
                   Scope: `conversations:read`.",
    params(
        ("phone_number" = String, Path, description = "Phone number in any common format, or a short code or \
            alphanumeric sender; percent-encoded.", example = "+12035550123"),
        ("page" = Option<u64>, Query, minimum = 1, maximum = 4294967295_u32,
            description = "Page number, starting at 1."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Messages per page; default \
            20."),
        ("offset" = Option<u64>, Query, maximum = 4294967295_u32,
            description = "Number of newest messages to skip, instead \
            of `page`."),
        ("cursor" = Option<String>, Query, min_length = 1,
            description = "The `next_cursor` of the previous page; cannot be combined \
            with `page` or `offset`."),
    ),
    responses(
        (status = 200, description = "The conversation and the page.", body = ConversationPage),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsRead).await?;
    let page = Page::from_query(request.query())?;
    let variants = app.variants(request)?;
    let read = i64::from(page.limit) + 1;
    let found = conversations::page(&app.db, app.account_sid(), &variants, page.start, read).await?;
    let (conversation, messages) = found.ok_or(ApiError::NotFound("the conversation"))?;
    http::json(StatusCode::OK, &ConversationPage::new(conversation, messages, page))
}
