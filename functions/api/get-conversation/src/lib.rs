//! GET /conversations/{phone_number}: a conversation by any spelling of its number, and a page of its messages.
//!
//! Reads Postgres (`sms_conversations`, `sms_messages`) in one round trip.

mod page;

pub use page::{Cursor, Page};

use common::config::{Configuration, Env};
use common::db::conversations::{self, Conversation, PageMessage};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::phone::{LoadError, NumberingPlan, Region};
use common::http::{ApiError, Reply, Request, Scope};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// What the function is told by its environment: `TWILIO_ACCOUNT_SID`, `DEFAULT_REGION` (US), by which numbers without
/// a country code are read, and what [`DatabaseConfig`] reads.
#[derive(Debug, Clone)]
pub struct Config {
    account_sid: String,
    region: Region,
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.text("TWILIO_ACCOUNT_SID");
        let region = env.parse_or("DEFAULT_REGION", Region::US);
        let database = DatabaseConfig::for_answers(env);
        Some(Self { account_sid: account_sid?, region: region?, database: database? })
    }
}

/// Why the function can't start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Postgres can't be set up.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The numbering plans can't be loaded.
    #[error("DEFAULT_REGION is not usable")]
    Plan(#[from] LoadError),
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    account_sid: String,
    plan: NumberingPlan,
    db: Db,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`InitError`]: the function can't start.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let plan = NumberingPlan::load(config.region)?;
        let db = Db::new(&config.database)?;
        Ok(Self { account_sid: config.account_sid, plan, db })
    }

    /// Connects ahead of the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// A conversation and a page of its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConversationPage {
    /// The number it is with: E.164, or a short code or alphanumeric sender as it is.
    pub phone_number_canonical: String,
    /// The number as it was first written.
    pub phone_number_original: String,
    /// Its id.
    pub conversation_id: Uuid,
    /// The tenant, once known.
    pub tenant_id: Option<String>,
    /// The ids of the tenants that claim the number, when several do; `tenant_id` is null then.
    #[schema(value_type = Option<Vec<String>>)]
    pub tenant_candidates: Option<Value>,
    /// The workflow that a router set.
    pub workflow_type: Option<String>,
    /// That workflow's instance.
    pub workflow_id: Option<String>,
    /// Where it stands, in a word of the routers' own; `open` as long as none set another.
    pub conversation_status: String,
    /// Where the recipient's clock is, by which quiet hours go: an IANA name that a router set; null when the number tells.
    pub time_zone: Option<String>,
    /// `en`, `es`, `pt` or `unknown`.
    pub language_detected: String,
    /// How sure that is, 0 to 1.
    pub language_confidence: f64,
    /// Whether the number refuses messages.
    pub opted_out: bool,
    /// Since when the carrier blocks messages to the number (30004); null once one was delivered.
    pub carrier_blocked_at: Option<Timestamp>,
    /// When its latest message came or was asked for.
    pub last_message_at: Option<Timestamp>,
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
            created_at: message.created_at,
        }
    }
}

impl ConversationPage {
    /// Puts the answer together from a page that was read with one message more than it shows.
    fn new(conversation: Conversation, mut messages: Vec<PageMessage>, page: Page) -> Self {
        let shown = page.limit as usize;
        let is_last = messages.len() <= shown;
        messages.truncate(shown);
        let next_cursor = messages
            .last()
            .filter(|_| !is_last)
            .map(|message| Cursor { created_at: message.created_at, id: message.id }.to_string());
        Self {
            phone_number_canonical: conversation.phone_number_canonical,
            phone_number_original: conversation.phone_number_original,
            conversation_id: conversation.id,
            tenant_id: conversation.tenant_id,
            tenant_candidates: conversation.tenant_candidates,
            workflow_type: conversation.workflow_type,
            workflow_id: conversation.workflow_id,
            conversation_status: conversation.conversation_status,
            time_zone: conversation.time_zone,
            language_detected: conversation.language_detected,
            language_confidence: conversation.language_confidence,
            opted_out: conversation.opted_out_at.is_some(),
            carrier_blocked_at: conversation.carrier_blocked_at,
            last_message_at: conversation.last_message_at,
            messages: messages.into_iter().map(MessageSummary::from).collect(),
            page: page.number(),
            limit: page.limit,
            offset: page.offset(),
            total: conversation.message_count,
            next_cursor,
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
    let variants = app.plan.lookup_variants(&request.phone_number()?);
    let read = i64::from(page.limit) + 1;
    let found = conversations::page(&app.db, &app.account_sid, &variants, page.start, read).await?;
    let (conversation, messages) = found.ok_or(ApiError::NotFound("the conversation"))?;
    Reply::json(200, &ConversationPage::new(conversation, messages, page))
}
