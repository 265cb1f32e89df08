//! GET /conversations: lists conversations by latest activity.
//!
//! Reads Postgres (`sms_conversations`) in one round trip.

mod page;

pub use page::{Cursor, Page};

use common::config::{Configuration, Env};
use common::db::conversations::{self, Position};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::sids::AccountSid;
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::conversation::Conversation;
use serde::Serialize;
use utoipa::ToSchema;

/// Configuration, read from the environment: `TWILIO_ACCOUNT_SID` and the variables of [`DatabaseConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    account_sid: AccountSid,
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.parse("TWILIO_ACCOUNT_SID");
        let database = DatabaseConfig::for_answers(env);
        Some(Self { account_sid: account_sid?, database: database? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS cannot be configured.
    pub fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        Ok(Self { config, db })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// A page of conversations.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConversationList {
    /// Conversations of the page, latest activity first.
    pub conversations: Vec<ListedConversation>,
    /// Maximum number of conversations per page.
    pub limit: u32,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// A conversation as in `GET /conversations/{phone_number}`, but without messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ListedConversation {
    #[serde(flatten)]
    conversation: Conversation,
    /// Number of messages in the conversation.
    pub total: i64,
}

impl From<conversations::Conversation> for ListedConversation {
    fn from(conversation: conversations::Conversation) -> Self {
        Self { total: conversation.message_count, conversation: conversation.into() }
    }
}

impl ConversationList {
    /// Creates the page from its conversations and one more, which shows whether there is a next page.
    fn new(mut found: Vec<(conversations::Conversation, Position)>, page: &Page) -> Self {
        let shown = page.limit as usize;
        let is_last = found.len() <= shown;
        found.truncate(shown);
        let last = found.last().filter(|_| !is_last);
        Self {
            next_cursor: last.map(|(_, position)| Cursor::new(*position, &page.filter).to_string()),
            conversations: found.into_iter().map(|(conversation, _)| conversation.into()).collect(),
            limit: page.limit,
        }
    }
}

/// Lists conversations.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid parameters, 403, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/conversations", tag = "conversations",
    operation_id = "list_conversations",
    summary = "List conversations",
    description = "Returns conversations without their messages, latest activity first. All given filters must match. \
                   While pages are read with a cursor, no conversation appears twice; one that gets a new \
                   message moves \
                   to the front, so read the first page again to see it, or pass the time of the last reading \
                   as `since`. \
                   Scope: `conversations:read`.",
    params(
        ("tenant_id" = Option<String>, Query, min_length = 1,
            description = "Conversations of this tenant.", example = "t-42"),
        ("workflow_type" = Option<String>, Query, min_length = 1, description = "Conversations with this workflow.",
            example = "collections"),
        ("language" = Option<String>, Query, pattern = "^(en|es|pt|unknown)$",
            description = "Detected language: `en`, `es`, `pt` or `unknown`.",
            example = "es"),
        ("unknown" = Option<bool>, Query, description = "`true`: numbers without a tenant, or with several. `false`: \
            numbers with one."),
        ("opted_out" = Option<bool>, Query, description = "Whether the number has opted out of messages."),
        ("since" = Option<jiff::Timestamp>, Query,
            description = "Conversations with activity at or after this time, RFC 3339.",
            example = "2026-11-01T12:00:00Z"),
        ("cursor" = Option<String>, Query, min_length = 1,
            description = "The `next_cursor` of the previous page. The filters must be \
            the same; `limit` may differ."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Conversations per page; default 20."),
    ),
    responses(
        (status = 200, description = "A page of conversations; empty if none matches.", body = ConversationList,
        example = json!({
            "conversations": [{
                "phone_number_canonical": "+12035550123", "phone_number_original": "(203) 555-0123",
                "conversation_id": "01900000-0000-7000-8000-00000000000c", "tenant_id": "t-42",
                "tenant_candidates": null, "workflow_type": "collections", "workflow_id": "case-17",
                "conversation_status": "open", "time_zone": null, "language_detected": "es",
                "language_confidence": 0.75, "opted_out": false, "carrier_blocked_at": null,
                "number_deactivated_at": null, "last_message_at": "2026-11-01T12:00:03Z", "total": 3
            }],
            "limit": 20, "next_cursor": null
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsRead).await?;
    let page = Page::from_query(request.query())?;
    let read = i64::from(page.limit) + 1;
    let found = conversations::list(&app.db, &app.config.account_sid, &page.filter, page.after, read).await?;
    http::json(StatusCode::OK, &ConversationList::new(found, &page))
}
