//! Resolves unknown sends, retries failed ones, and lists both. Invoked directly by an operator.
//!
//! | payload | response |
//! |---|---|
//! | `{"action": "decide", "message_id", "was": "sent" \| "not_sent", "twilio_sid"?}` | `{"message_id", "status"}` |
//! | `{"action": "retry", "message_ids": [..]}` | `{"retried": [..], "refused": [{"message_id", "reason"}]}` |
//! | `{"action": "retry", "error_code", "since", "until"?, "limit"?}` | the same |
//! | `{"action": "list", "status": "unknown" \| "failed" \| "undelivered", "error_code"?, "since"?, "until"?, "limit"?}` | `{"messages": [..]}` |
//!
//! A message that was `sent` with a `twilio_sid` gets its further statuses from Twilio. One that was `not_sent` is sent
//! again within a minute, or fails if its time limit has passed. A delivered message, or one whose recipient has opted
//! out, is never retried.

mod command;

pub use command::Command;

use common::clock;
use common::config::{Configuration, Env};
use common::db::sends::{self, Decided, Decision, Unsettled};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::ids::{ConversationId, MessageId};
use common::domain::message::Status;
use common::domain::sids::MessageSid;
use common::http::ValidationError;
use common::twilio::send_max_age;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Configuration, read from the environment: the variables of [`DatabaseConfig`], and [`send_max_age`].
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    max_age: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let max_age = send_max_age(env);
        Some(Self { database: database?, max_age: max_age? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
}

impl App {
    /// Builds the state. It connects on the first invocation.
    ///
    /// # Errors
    ///
    /// [`DbError`] if TLS cannot be configured. The function should not start.
    pub fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        Ok(Self { config, db })
    }
}

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub enum SendsError {
    /// The payload is invalid.
    #[error("invalid payload: {}", .0.sentences())]
    Invalid(ValidationError),
    /// No outbound message has this id.
    #[error("unknown outbound message {0}")]
    NotFound(MessageId),
    /// The outcome of the message is not unknown.
    #[error("message {id} is {status}: there is nothing to decide")]
    NotUnknown {
        /// The id of the message.
        id: MessageId,
        /// The status of the message.
        status: Status,
    },
    /// The SID belongs to another message.
    #[error("twilio_sid belongs to another message")]
    SidTaken,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ValidationError> for SendsError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

/// The response to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// A decision was stored.
    Decided {
        /// The id of the message.
        message_id: MessageId,
        /// The new status of the message.
        status: Status,
    },
    /// The result of a retry command.
    Retried {
        /// The ids of the messages that will be sent again.
        retried: Vec<MessageId>,
        /// The messages that will not be sent again.
        refused: Vec<Refused>,
    },
    /// The listed messages.
    Listed {
        /// The messages, oldest first.
        messages: Vec<Description>,
    },
}

/// A message that is not retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The id of the message.
    pub message_id: MessageId,
    /// The reason.
    pub reason: &'static str,
}

/// The properties of a message, without its text and phone numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The id.
    pub id: MessageId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The status.
    pub delivery_status: Status,
    /// The error code.
    pub error_code: Option<String>,
    /// The MessageSid of the latest attempt.
    pub twilio_sid: Option<MessageSid>,
    /// When automatic resolution gave up. An operator must decide.
    pub parked_at: Option<Timestamp>,
    /// The number of attempts.
    pub attempts: i64,
    /// The result of the last attempt.
    pub detail: Option<String>,
    /// When the message was created.
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

/// Executes the command in a payload.
///
/// # Errors
///
/// [`SendsError`]. Nothing was changed.
pub async fn handle(app: &App, payload: Value) -> Result<Response, SendsError> {
    match Command::from_payload(payload)? {
        Command::Decide { message_id, decision } => decide(app, message_id, &decision).await,
        Command::RetryIds(ids) => retry(app, &ids).await,
        Command::RetryMatching(filter) => {
            let matching = sends::unsettled(&app.db, &filter).await?;
            let ids: Vec<MessageId> = matching.into_iter().map(|message| message.id).collect();
            retry(app, &ids).await
        }
        Command::List(filter) => {
            let messages = sends::unsettled(&app.db, &filter).await?;
            Ok(Response::Listed { messages: messages.into_iter().map(Description::from).collect() })
        }
    }
}

async fn decide(app: &App, id: MessageId, decision: &Decision) -> Result<Response, SendsError> {
    match sends::decide(&app.db, id, decision, app.config.max_age, clock::now()).await? {
        Decided::Done(status) => {
            tracing::info!(message_id = %id, ?decision, status = status.as_str(), "operator resolved an unknown send");
            Ok(Response::Decided { message_id: id, status })
        }
        Decided::NotFound => Err(SendsError::NotFound(id)),
        Decided::NotUnknown(status) => Err(SendsError::NotUnknown { id, status }),
        Decided::SidTaken => Err(SendsError::SidTaken),
    }
}

async fn retry(app: &App, ids: &[MessageId]) -> Result<Response, SendsError> {
    let found = sends::retry(&app.db, ids, clock::now()).await?;
    let mut retried = Vec::new();
    let mut refused = Vec::new();
    for id in ids {
        match found.iter().find(|message| message.message_id == *id).map(|message| message.refused) {
            Some(None) => retried.push(*id),
            Some(Some(reason)) => refused.push(Refused { message_id: *id, reason }),
            None => refused.push(Refused { message_id: *id, reason: "the message does not exist" }),
        }
    }
    tracing::info!(retried = retried.len(), refused = refused.len(), "operator retried failed sends");
    Ok(Response::Retried { retried, refused })
}
