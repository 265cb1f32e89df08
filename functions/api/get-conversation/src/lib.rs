//! GET /conversations/{phone_number}: a conversation by any spelling of its number, and a page of its messages.
//!
//! Reads Postgres (`sms_conversations`, `sms_messages`) in one round trip.

mod page;

pub use conversation::{App, Config};
pub use page::{Cursor, Page};

use common::db::conversations::{self, PageMessage};
use common::http::{ApiError, Reply, Request, Scope};
use conversation::Conversation;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// A conversation and a page of its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConversationPage {
    #[serde(flatten)]
    conversation: Conversation,
    /// The page, newest first.
    pub messages: Vec<MessageSummary>,
    /// Which page this is, the first being 1; null when a cursor was given.
    pub page: Option<u64>,
    /// How many messages a page holds at most.
    pub limit: u32,
    /// How many newer messages were left out; null when a cursor was given.
    pub offset: Option<u64>,
    /// How many messages the conversation holds.
    pub total: i64,
    /// What to give as `cursor` for the page after this one; null at the end.
    pub next_cursor: Option<String>,
}

/// A message as a conversation shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MessageSummary {
    /// Its id.
    pub id: Uuid,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Its sender; null while a messaging service has not said whom it chose.
    pub from_number: Option<String>,
    /// Its recipient.
    pub to_number: String,
    /// Its text.
    pub message_content: String,
    /// Its text once more, under the name that older callers read.
    pub content: String,
    /// Its files: `[{url, content_type}]`.
    #[schema(value_type = Vec<Object>)]
    pub media: Value,
    /// Twilio's id of its latest create, once there is one.
    pub twilio_sid: Option<String>,
    /// Where it stands.
    #[schema(value_type = common::domain::message::Status)]
    pub delivery_status: String,
    /// Why it failed, or why it is still pending: Twilio's number, or a word of ours.
    pub error_code: Option<String>,
    /// `en`, `es`, `pt` or `unknown`.
    pub language: String,
    /// How sure that is, 0 to 1.
    pub language_confidence: f64,
    /// `opt_out`, `unsure` or `none`: whether it refuses messages. Only `opt_out` stops them. Null for what we send, and for
    /// messages from before this was recorded.
    pub opt_out: Option<String>,
    /// When it came or was asked for.
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
    /// Puts the answer together from a page that was read with one message more than it shows.
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

/// Reads a conversation and a page of its messages.
///
/// # Errors
///
/// [`ApiError`]: 400 with every parameter at fault, 403, 404, or 503 when Postgres can't be read.
#[utoipa::path(
    get, path = "/conversations/{phone_number}", tag = "conversations",
    operation_id = "get_conversation",
    summary = "Read a conversation",
    description = "A conversation by any spelling of its number, and a page of its messages, newest first. A cursor \
                   costs the same on every page and misses nothing when messages arrive in between. \
                   Scope: `conversations:read`.",
    params(
        ("phone_number" = String, Path, description = "Any spelling, percent-encoded; a short code or alphanumeric \
            sender as it is.", example = "+12035550123"),
        ("page" = Option<u32>, Query, minimum = 1, description = "Which page, the first being 1."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many messages a page holds; 20 \
            when left out."),
        ("offset" = Option<u32>, Query, description = "How many of the newest messages to skip, instead of a page."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before; excludes `page` and \
            `offset`."),
    ),
    responses(
        (status = 200, description = "The conversation and the page.", body = ConversationPage),
        (status = 400, description = "`sms.validation_error`: every parameter at fault is named.",
            body = common::http::ErrorEnvelope),
        (status = 403, description = "`sms.forbidden`: the key lacks `conversations:read`.",
            body = common::http::ErrorEnvelope),
        (status = 404, description = "`sms.not_found`: there is no conversation with this number.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: try again.", body = common::http::ErrorEnvelope),
    ),
    security(("api_key" = ["conversations:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsRead).await?;
    let page = Page::from_query(request.query())?;
    let variants = app.variants(request)?;
    let read = i64::from(page.limit) + 1;
    let found = conversations::page(&app.db, &app.account_sid, &variants, page.start, read).await?;
    let (conversation, messages) = found.ok_or(ApiError::NotFound("the conversation"))?;
    Reply::json(200, &ConversationPage::new(conversation, messages, page))
}
