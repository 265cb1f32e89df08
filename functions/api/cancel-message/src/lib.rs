//! POST /messages/{id}/cancel: cancels a message that was not passed to Twilio yet.
//!
//! Reads and writes Postgres (`sms_messages`). One statement decides, so a message is either canceled or sent.

pub use common::service::endpoint::{App, Config};

use common::clock;
use common::db::sends::{self, Canceled};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::{caller, message};
use serde::Serialize;
use utoipa::ToSchema;

/// A canceled message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01900000-0000-7000-8000-00000000000d", "status": "canceled"
}))]
pub struct CanceledMessage {
    /// Message id.
    #[schema(value_type = uuid::Uuid)]
    pub id: MessageId,
    /// Always `canceled`.
    pub status: Status,
}

/// Cancels a message.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, 409 when it is too late, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/messages/{id}/cancel", tag = "messages",
    operation_id = "cancel_message",
    summary = "Cancel a message",
    description = "Cancels a message that was not passed to Twilio yet, scheduled or not. \
                   Scope: `messages:send`.",
    params(("id" = uuid::Uuid, Path, description = "Message id.")),
    responses(
        (status = 200, description = "The message will not be sent.", body = CanceledMessage),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Conflict,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let id = message::id(request)?;
    match sends::cancel(&app.db, id, clock::now()).await? {
        Canceled::Done => {
            tracing::info!(message_id = %id, "message canceled");
            http::json(StatusCode::OK, &CanceledMessage { id, status: Status::Canceled })
        }
        Canceled::NotFound => Err(ApiError::NotFound("the message")),
        Canceled::Inbound => Err(ApiError::Conflict("an inbound message cannot be canceled".into())),
        Canceled::UnderWay => Err(ApiError::Conflict("the message is being sent to Twilio".into())),
        Canceled::TooLate(status) => Err(ApiError::Conflict(too_late(status).into())),
    }
}

/// Returns why a message with this status cannot be canceled.
fn too_late(status: Status) -> &'static str {
    match status {
        Status::Unknown => "the message may have been sent: its status is unknown",
        Status::Delivered | Status::Read => "the message was delivered",
        Status::Failed | Status::Undelivered => "the message has failed",
        Status::Canceled => "the message is already canceled",
        _ => "the message was sent to Twilio",
    }
}
