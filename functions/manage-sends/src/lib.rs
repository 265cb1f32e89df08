//! Invoked directly, by an operator: decides what became of unknown sends, tries failed ones again, and lists both.
//!
//! | payload | answer |
//! |---|---|
//! | `{"action": "decide", "message_id", "was": "sent" \| "not_sent", "twilio_sid"?}` | `{"message_id", "status"}` |
//! | `{"action": "retry", "message_ids": [..]}` | `{"retried": [..], "refused": [{"message_id", "reason"}]}` |
//! | `{"action": "retry", "error_code", "since", "until"?, "limit"?}` | the same |
//! | `{"action": "list", "status": "unknown" \| "failed" \| "undelivered", "error_code"?, "since"?, "until"?, "limit"?}` | `{"messages": [..]}` |
//!
//! What was sent with an SID is followed on from there; what was not sent is sent again within a minute, or has failed
//! when its time is over. What reached a handset, or whose recipient has opted out, is never tried again.

mod command;

pub use command::Command;

use common::clock;
use common::config::{Configuration, Env};
use common::db::sends::{self, Decided, Decision, Unsettled};
use common::db::{DatabaseConfig, Db, DbError};
use common::http::ValidationError;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// What the function is told by its environment: what [`DatabaseConfig`] reads, and `SEND_MAX_AGE_SECONDS` (86 400).
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    max_age: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let max_age = env.seconds("SEND_MAX_AGE_SECONDS", 1..=2_592_000, 86_400);
        Some(Self { database: database?, max_age: max_age? })
    }
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
    max_age: Duration,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS can't be set up: the function can't start.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)?, max_age: config.max_age })
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum SendsError {
    /// The payload can't be taken as it is.
    #[error("the payload is not valid: {}", sentences(.0))]
    Invalid(ValidationError),
    /// No message of ours has this id.
    #[error("there is no outbound message {0}")]
    NotFound(Uuid),
    /// The outcome of the message is known.
    #[error("message {id} is {status}: there is nothing to decide")]
    NotUnknown {
        /// The message.
        id: Uuid,
        /// Where it stands.
        status: String,
    },
    /// Twilio's id is another message's.
    #[error("twilio_sid belongs to another message")]
    SidTaken,
    /// Postgres didn't do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ValidationError> for SendsError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

fn sentences(error: &ValidationError) -> String {
    let sentences: Vec<String> =
        error.fields().iter().map(|problem| format!("{} {}", problem.field, problem.reason)).collect();
    sentences.join("; ")
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// A decision is recorded.
    Decided {
        /// The message.
        message_id: Uuid,
        /// Where it stands now.
        status: String,
    },
    /// Messages are tried again.
    Retried {
        /// Those that are.
        retried: Vec<Uuid>,
        /// Those that are not.
        refused: Vec<Refused>,
    },
    /// Messages that are not settled, or failed.
    Listed {
        /// The oldest first.
        messages: Vec<Description>,
    },
}

/// A message that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Which one.
    pub message_id: Uuid,
    /// Why.
    pub reason: &'static str,
}

/// A message, described without its text and its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Its id.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Where it stands.
    pub delivery_status: String,
    /// Why.
    pub error_code: Option<String>,
    /// Twilio's id of its latest create.
    pub twilio_sid: Option<String>,
    /// Since when it is left to a person.
    pub parked_at: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: i64,
    /// What came of the last try.
    pub detail: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl From<Unsettled> for Description {
    fn from(message: Unsettled) -> Self {
        Self {
            id: message.id,
            conversation_id: message.conversation_id,
            delivery_status: message.delivery_status,
            error_code: message.error_code,
            twilio_sid: message.twilio_sid,
            parked_at: message.parked_at,
            attempts: message.attempts,
            detail: message.detail,
            created_at: message.created_at,
        }
    }
}

/// Reads a command and does it.
///
/// # Errors
///
/// [`SendsError`], naming every field at fault.
pub async fn handle(app: &App, payload: Value) -> Result<Answer, SendsError> {
    match Command::from_payload(payload)? {
        Command::Decide { message_id, decision } => decide(app, message_id, &decision).await,
        Command::RetryThese(ids) => retry(app, &ids).await,
        Command::RetryMatching(wanted) => {
            let matching = sends::unsettled(&app.db, &wanted).await?;
            let ids: Vec<Uuid> = matching.into_iter().map(|message| message.id).collect();
            retry(app, &ids).await
        }
        Command::List(wanted) => {
            let messages = sends::unsettled(&app.db, &wanted).await?;
            Ok(Answer::Listed { messages: messages.into_iter().map(Description::from).collect() })
        }
    }
}

async fn decide(app: &App, id: Uuid, decision: &Decision) -> Result<Answer, SendsError> {
    match sends::decide(&app.db, id, decision, app.max_age, clock::now()).await? {
        Decided::Done(status) => {
            tracing::info!(message_id = %id, ?decision, status, "an operator decided what became of a message");
            Ok(Answer::Decided { message_id: id, status })
        }
        Decided::NotFound => Err(SendsError::NotFound(id)),
        Decided::NotUnknown(status) => Err(SendsError::NotUnknown { id, status }),
        Decided::SidTaken => Err(SendsError::SidTaken),
    }
}

async fn retry(app: &App, ids: &[Uuid]) -> Result<Answer, SendsError> {
    let found = sends::retry(&app.db, ids, clock::now()).await?;
    let mut retried = Vec::new();
    let mut refused = Vec::new();
    for id in ids {
        match found.iter().find(|message| message.message_id == *id).map(|message| message.refused) {
            Some(None) => retried.push(*id),
            Some(Some(reason)) => refused.push(Refused { message_id: *id, reason }),
            None => refused.push(Refused { message_id: *id, reason: "there is no such message" }),
        }
    }
    tracing::info!(
        retried = retried.len(),
        refused = refused.len(),
        "an operator has failed messages tried again"
    );
    Ok(Answer::Retried { retried, refused })
}
