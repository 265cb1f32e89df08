//! The conversation of the API, and the state of the endpoints that find one by its phone number.

use crate::config::{Configuration, Env};
use crate::db::{DatabaseConfig, Db, DbError, conversations};
use crate::domain::ids::ConversationId;
use crate::domain::language::Language;
use crate::domain::phone::{LoadError, NumberingPlan, PhoneError, Recipient, Region};
use crate::domain::sids::AccountSid;
use crate::http::{ApiError, HttpRequestExt, Request};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Configuration, read from the environment: `TWILIO_ACCOUNT_SID`, `DEFAULT_REGION` (US), the region of numbers without
/// a country code, and the variables of [`DatabaseConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    account_sid: AccountSid,
    region: Region,
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.parse("TWILIO_ACCOUNT_SID");
        let region = region(env);
        let database = DatabaseConfig::for_answers(env);
        Some(Self { account_sid: account_sid?, region: region?, database: database? })
    }
}

/// Reads `DEFAULT_REGION` (US), the region of numbers without a country code.
pub fn region(env: &mut Env<'_>) -> Option<Region> {
    env.parse_or("DEFAULT_REGION", Region::US)
}

/// Why the function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The database client could not be created.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The numbering plan could not be loaded.
    #[error("DEFAULT_REGION is invalid")]
    Plan(#[from] LoadError),
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub db: Db,
    config: Config,
    plan: NumberingPlan,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let plan = NumberingPlan::load(config.region)?;
        let db = Db::new(&config.database)?;
        Ok(Self { db, config, plan })
    }

    /// Returns the Twilio account of the conversations.
    #[must_use]
    pub fn account_sid(&self) -> &AccountSid {
        &self.config.account_sid
    }

    /// Returns the numbering plans.
    #[must_use]
    pub const fn plan(&self) -> &NumberingPlan {
        &self.plan
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }

    /// Returns the forms in which the number of a request's path may be stored, in lookup order.
    ///
    /// # Errors
    ///
    /// Those of [`HttpRequestExt::phone_number`].
    pub fn variants(&self, request: &Request) -> Result<Vec<String>, ApiError> {
        Ok(self.plan.lookup_variants(&request.phone_number()?))
    }

    /// Returns the number of a request's path as a recipient, or why it is none.
    ///
    /// # Errors
    ///
    /// Those of [`HttpRequestExt::phone_number`].
    pub fn recipient(&self, request: &Request) -> Result<Result<Recipient, PhoneError>, ApiError> {
        Ok(self.plan.recipient(&request.phone_number()?))
    }
}

/// A conversation, without its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Conversation {
    /// Phone number in E.164, or a short code or alphanumeric sender.
    pub phone_number_canonical: String,
    /// The number as it was first received.
    pub phone_number_original: String,
    /// Conversation id.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// Tenant id; null while unknown.
    pub tenant_id: Option<String>,
    /// Ids of the tenants if several have this number; `tenant_id` is null then.
    #[schema(value_type = Option<Vec<String>>)]
    pub tenant_candidates: Option<Value>,
    /// Workflow, set by a router.
    pub workflow_type: Option<String>,
    /// Instance of the workflow.
    pub workflow_id: Option<String>,
    /// Status, defined and set by routers; initially `open`.
    pub conversation_status: String,
    /// IANA time zone for quiet hours, set by a router; null means the time zone of the phone number.
    pub time_zone: Option<String>,
    /// Detected language: `en`, `es`, `pt` or `unknown`.
    #[schema(value_type = String)]
    pub language_detected: Language,
    /// Confidence of the detected language, 0 to 1.
    pub language_confidence: f64,
    /// Whether the number has opted out of messages.
    pub opted_out: bool,
    /// Time since which the carrier blocks messages to the number (error 30004); null after a delivery.
    pub carrier_blocked_at: Option<Timestamp>,
    /// Day on which the carrier deactivated the number (midnight UTC). Messages to it are refused until it has written
    /// or was opted in; then it is null.
    pub number_deactivated_at: Option<Timestamp>,
    /// Time of the latest message, inbound or outbound.
    pub last_message_at: Option<Timestamp>,
}

impl From<conversations::Conversation> for Conversation {
    fn from(conversation: conversations::Conversation) -> Self {
        Self {
            phone_number_canonical: conversation.phone_number_canonical.canonical().to_owned(),
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
            number_deactivated_at: conversation.deactivated_at,
            last_message_at: conversation.last_message_at,
        }
    }
}
