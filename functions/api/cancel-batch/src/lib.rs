//! POST /sms/bulk/{batch_id}/cancel: cancels the messages of a batch that were not handed to Twilio.
//!
//! Reads and writes Postgres (`sms_batches`, `sms_batch_counts`, `sms_messages`, `sms_events_pending`). From the first
//! commit on, no message of the batch passes the gate before a call to Twilio. The messages are canceled in steps; what
//! does not fit into the time limit, and messages that a function holds, are left to the sweep.

pub use common::service::batch::BatchProgress;
pub use common::service::endpoint::{App, Config};

use common::domain::batch::BatchAction;
use common::error::chain;
use common::http::{self, ApiError, ErrorEnvelope, Request, Response, Scope, StatusCode, responses};
use common::service::{batch, caller};
use std::time::{Duration, Instant};

/// How long a request cancels messages.
const BUDGET: Duration = Duration::from_secs(10);

/// Cancels a batch.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, 409, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/sms/bulk/{batch_id}/cancel", tag = "bulk",
    operation_id = "cancel_batch",
    summary = "Cancel a batch",
    description = "Cancels everything that was not handed to Twilio yet, within two seconds. In a large batch, \
        messages may be `pending` for up to a minute after the response; they are not sent. A repetition changes \
        nothing. \
        Scope: `messages:send`.",
    params(("batch_id" = uuid::Uuid, Path, description = "Batch id.")),
    responses(
        (status = 200, description = "The progress of the batch.", body = BatchProgress, example = json!({
            "batch_id": "01900000-0000-7000-8000-000000000001", "status": "cancelled", "total": 240,
            "by_status": {"canceled": 60, "delivered": 180}, "segments": 310
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
    batch::change(&app.db, id, BatchAction::Cancel).await?;
    if let Err(error) = batch::cancel(&app.db, id, Instant::now() + BUDGET).await {
        let error = chain(&error);
        tracing::warn!(batch_id = %id, error, "could not cancel all messages, leaving them to the sweep");
    }
    http::json(StatusCode::OK, &batch::progress(&app.db, id).await?)
}
