//! PATCH /conversations/{phone_number}: sets what routers decide of a conversation, found by any spelling of its number.
//!
//! Reads and writes Postgres (`sms_conversations`; `sms_messages`, where another time zone moves what waits for the end of
//! quiet hours) in one statement. This service stores a workflow, it never chooses one.

mod request;

pub use request::ConversationChanges;

use common::clock;
use common::config::{Configuration, Env};
use common::db::conversations::{self, Conversation};
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

/// A conversation as `GET /conversations/{phone_number}` shows it, without its messages: who may set a workflow need not be
/// allowed to read them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChangedConversation {
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
    /// How many messages the conversation holds.
    pub total: i64,
}

impl From<Conversation> for ChangedConversation {
    fn from(conversation: Conversation) -> Self {
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
            total: conversation.message_count,
        }
    }
}

/// Changes a conversation.
///
/// # Errors
///
/// [`ApiError`]: 400 with every field at fault, 403, 404, 413, or 503 when Postgres can't be written.
#[utoipa::path(
    patch, path = "/conversations/{phone_number}", tag = "conversations",
    operation_id = "update_conversation",
    summary = "Set a conversation's workflow, status or time zone",
    description = "Sets what routers decide of a conversation, found by any spelling of its number. What is left out stays \
                   as it is, `null` clears a field. The answer is the conversation without its messages. \
                   Scope: `conversations:write`.",
    params(("phone_number" = String, Path, description = "Any spelling, percent-encoded; a short code or alphanumeric \
        sender as it is.", example = "+12035550123")),
    request_body = ConversationChanges,
    responses(
        (status = 200, description = "The conversation as it is now.", body = ChangedConversation),
        (status = 400, description = "`sms.validation_error`: every field at fault is named.",
            body = common::http::ErrorEnvelope),
        (status = 403, description = "`sms.forbidden`: the key lacks `conversations:write`.",
            body = common::http::ErrorEnvelope),
        (status = 404, description = "`sms.not_found`: there is no conversation with this number.",
            body = common::http::ErrorEnvelope),
        (status = 413, description = "`sms.payload_too_large`: more than 256 KiB.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: try again.", body = common::http::ErrorEnvelope),
    ),
    security(("api_key" = ["conversations:write"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsWrite).await?;
    let number = request.phone_number()?;
    let changes = request::changes(request.payload()?)?;
    let variants = app.plan.lookup_variants(&number);
    let changed = conversations::update(&app.db, &app.account_sid, &variants, &changes, clock::now()).await?;
    let conversation = changed.ok_or(ApiError::NotFound("the conversation"))?;
    tracing::info!(conversation_id = %conversation.id, "changed");
    Reply::json(200, &ChangedConversation::from(conversation))
}
