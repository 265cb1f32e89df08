//! POST /sms/bulk/{batch_id}/pause: stops a batch.
//!
//! Reads and writes Postgres (`sms_batches`; reads `sms_batch_counts`). From the commit on, no message of the batch
//! passes the gate before a call to Twilio. Claims take its messages out of the queue.

pub use common::service::batch::BatchProgress;
pub use common::service::endpoint::{App, Config};

use common::domain::batch::BatchAction;
use common::http::{self, ApiError, ErrorEnvelope, Request, Response, Scope, StatusCode, responses};
use common::service::{batch, caller};

/// Pauses a batch.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, 409, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/sms/bulk/{batch_id}/pause", tag = "bulk",
    operation_id = "pause_batch",
    summary = "Pause a batch",
    description = "Stops the sending of everything that was not handed to Twilio yet, within two seconds. Messages \
        that join the batch later wait too. A paused message does not expire unless it has `send_before`. A repetition \
        changes nothing. \
        Scope: `messages:send`.",
    params(("batch_id" = uuid::Uuid, Path, description = "Batch id.")),
    responses(
        (status = 200, description = "The progress of the batch.", body = BatchProgress, example = json!({
            "batch_id": "01900000-0000-7000-8000-000000000001", "status": "paused", "total": 240,
            "by_status": {"delivered": 180, "pending": 60}, "segments": 310
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 409, description = "`sms.conflict`: the batch was cancelled, or every message has its final status.",
            body = ErrorEnvelope),
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let id = batch::id(request)?;
    batch::change(&app.db, id, BatchAction::Pause).await?;
    http::json(StatusCode::OK, &batch::progress(&app.db, id).await?)
}
