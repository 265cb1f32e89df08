//! A conversation as the API shows it, and what the endpoints share that find one by its number.

use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError, conversations};
use common::domain::phone::{LoadError, NumberingPlan, Region};
use common::http::{ApiError, Request};
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
    /// Where conversations are.
    pub db: Db,
    /// Whose conversations they are.
    pub account_sid: String,
    plan: NumberingPlan,
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
        Ok(Self { db, account_sid: config.account_sid, plan })
    }

    /// Connects ahead of the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }

    /// Returns what the number in a request's path may be kept as, in the order of looking it up.
    ///
    /// # Errors
    ///
    /// As of [`Request::phone_number`].
    pub fn variants(&self, request: &Request) -> Result<Vec<String>, ApiError> {
        Ok(self.plan.lookup_variants(&request.phone_number()?))
    }
}

/// A conversation, without its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Conversation {
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
}

impl From<conversations::Conversation> for Conversation {
    fn from(conversation: conversations::Conversation) -> Self {
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
        }
    }
}
