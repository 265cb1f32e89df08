//! POST /messages/{id}/cancel: cancels what has not been handed to Twilio.
//!
//! Reads and writes Postgres (`sms_messages`). A message that is just being claimed is either canceled or sent, never
//! both: one statement decides.

use common::config::{Configuration, Env};
use common::db::sends::{self, Canceled};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::message::Status;
use common::http::{ApiError, Reply, Request, Scope, ValidationError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What the function is told by its environment.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::for_answers(env);
        Some(Self { database: database? })
    }
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    db: Db,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`DbError`] when TLS can't be set up: the function can't start.
    pub fn init(config: &Config) -> Result<Self, DbError> {
        Ok(Self { db: Db::new(&config.database)? })
    }

    /// Connects ahead of the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// A message that will not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CanceledMessage {
    /// Its id.
    pub id: Uuid,
    /// `canceled`.
    pub status: Status,
}

/// Cancels a message.
///
/// # Errors
///
/// [`ApiError`]: 400 when the id is none, 403, 404, 409 when it is too late, or 503 when Postgres can't be written.
#[utoipa::path(
    post, path = "/messages/{id}/cancel", tag = "messages",
    operation_id = "cancel_message",
    summary = "Cancel a message",
    description = "Cancels a message that has not been handed to Twilio, whether its time has come or not. \
                   Scope: `messages:send`.",
    params(("id" = Uuid, Path, description = "The message's id.")),
    responses(
        (status = 200, description = "It will not be sent.", body = CanceledMessage),
        (status = 400, description = "`sms.validation_error`: the id is not a UUID.",
            body = common::http::ErrorEnvelope),
        (status = 403, description = "`sms.forbidden`: the key lacks `messages:send`.",
            body = common::http::ErrorEnvelope),
        (status = 404, description = "`sms.not_found`: there is no such message.",
            body = common::http::ErrorEnvelope),
        (status = 409, description = "`sms.conflict`: it is being handed to Twilio, may have been, was, or has ended.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: try again.", body = common::http::ErrorEnvelope),
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let id = request.path_parameter("id")?;
    let id: Uuid = id.parse().map_err(|_| ValidationError::field("id", "is not a UUID"))?;
    match sends::cancel(&app.db, id).await? {
        Canceled::Done => {
            tracing::info!(message_id = %id, "canceled");
            Reply::json(200, &CanceledMessage { id, status: Status::Canceled })
        }
        Canceled::NotFound => Err(ApiError::NotFound("the message")),
        Canceled::Inbound => Err(ApiError::Conflict("the message came in: there is nothing to cancel")),
        Canceled::UnderWay => Err(ApiError::Conflict("the message is being handed to Twilio")),
        Canceled::TooLate(status) => Err(ApiError::Conflict(too_late(&status))),
    }
}

/// Why a message of this status can't be canceled.
fn too_late(status: &str) -> &'static str {
    match status {
        "unknown" => "the message may have been handed to Twilio: that is being found out",
        "delivered" | "read" => "the message is delivered",
        "failed" | "undelivered" => "the message has failed",
        "canceled" => "the message is canceled already",
        _ => "the message was handed to Twilio",
    }
}
