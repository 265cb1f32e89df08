//! GET /sms/bulk/{batch_id}: returns the progress of a batch.
//!
//! Reads Postgres (`sms_batches`, `sms_batch_counts`). The cost does not depend on the number of messages.

pub use common::service::batch::BatchProgress;
pub use common::service::endpoint::{App, Config};

use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::{batch, caller};

/// Returns the progress of a batch.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid id, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/sms/bulk/{batch_id}", tag = "bulk",
    operation_id = "get_batch",
    summary = "Get the progress of a batch",
    description = "Returns the number of messages by status. A batch is completed when every message has its \
        final status, or was sent so long ago that no status is expected. \
        Scope: `messages:read`.",
    params(("batch_id" = uuid::Uuid, Path, description = "Batch id.")),
    responses(
        (status = 200, description = "The progress of the batch.", body = BatchProgress, example = json!({
            "batch_id": "01900000-0000-7000-8000-000000000001", "status": "running", "total": 240,
            "by_status": {"delivered": 180, "pending": 57, "undelivered": 3}, "segments": 310
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::MessagesRead).await?;
    http::json(StatusCode::OK, &batch::progress(&app.db, batch::id(request)?).await?)
}
