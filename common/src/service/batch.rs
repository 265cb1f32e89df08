//! The progress of a batch, and the actions of its callers and of the sweep.

use crate::clock;
use crate::db::batches::{self, BatchChange, Step};
use crate::db::{Db, DbError};
use crate::domain::batch::{BatchAction, BatchStatus};
use crate::domain::ids::{BatchId, MessageId};
use crate::http::{ApiError, HttpRequestExt, Request, ValidationError};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;
use utoipa::ToSchema;

/// The progress of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchProgress {
    /// Batch id.
    #[schema(value_type = uuid::Uuid)]
    pub batch_id: BatchId,
    /// `running`, `paused`, `cancelled` or `completed`.
    pub status: BatchStatus,
    /// The number of accepted messages.
    pub total: i32,
    /// The number of messages by status. Statuses without messages are absent.
    pub by_status: BTreeMap<String, i64>,
    /// The number of segments of all accepted messages.
    pub segments: i64,
}

/// Returns the batch id in a request's path.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not a UUID.
pub fn id(request: &Request) -> Result<BatchId, ApiError> {
    let id = request.path_parameter("batch_id")?;
    id.parse().map_err(|_| ValidationError::field("batch_id", "is not a UUID").into())
}

/// Returns the progress of a batch.
///
/// # Errors
///
/// [`ApiError::NotFound`], or [`ApiError::Unavailable`] when Postgres is unavailable.
pub async fn progress(db: &Db, id: BatchId) -> Result<BatchProgress, ApiError> {
    let batch = batches::find(db, id).await?.ok_or(ApiError::NotFound("the batch"))?;
    let by_status = serde_json::from_value(batch.by_status).map_err(ApiError::internal)?;
    Ok(BatchProgress {
        batch_id: batch.id,
        status: batch.status,
        total: batch.total,
        by_status,
        segments: batch.segments,
    })
}

/// Changes the state of a batch. Repeating an action is not an error.
///
/// # Errors
///
/// [`ApiError::NotFound`], [`ApiError::Conflict`] when the batch has ended, or [`ApiError::Unavailable`] when Postgres
/// is unavailable.
pub async fn change(db: &Db, id: BatchId, action: BatchAction) -> Result<(), ApiError> {
    match batches::change(db, id, action, clock::now()).await? {
        BatchChange::Done => {
            tracing::info!(batch_id = %id, %action, "batch changed");
            Ok(())
        }
        BatchChange::NotFound => Err(ApiError::NotFound("the batch")),
        BatchChange::Ended(BatchStatus::Cancelled) => {
            Err(ApiError::Conflict("the batch was cancelled".into()))
        }
        BatchChange::Ended(_) => {
            Err(ApiError::Conflict("every message of the batch has its final status".into()))
        }
    }
}

/// Cancels the waiting messages of a cancelled batch, until a time. Returns how many.
///
/// # Errors
///
/// [`DbError`]: the sweep continues.
pub async fn cancel(db: &Db, id: BatchId, until: Instant) -> Result<usize, DbError> {
    let (canceled, _) =
        walk(until, async |after, now| batches::cancel_step(db, id, after, now).await).await?;
    Ok(canceled)
}

/// Makes the messages of a resumed batch due again, until a time. Returns how many.
///
/// # Errors
///
/// [`DbError`]: the sweep continues.
pub async fn resume(db: &Db, id: BatchId, until: Instant) -> Result<usize, DbError> {
    let started_at = clock::now();
    let (resumed, is_done) =
        walk(until, async |after, now| batches::resume_step(db, id, after, now).await).await?;
    if is_done {
        batches::resumed(db, id, started_at).await?;
    }
    Ok(resumed)
}

/// Goes through the messages of a batch in steps. Returns how many were changed, and whether the end was reached.
async fn walk(
    until: Instant,
    step: impl AsyncFn(Option<MessageId>, Timestamp) -> Result<Step, DbError>,
) -> Result<(usize, bool), DbError> {
    let (mut changed, mut after) = (0, None);
    loop {
        let made = step(after, clock::now()).await?;
        changed += usize::try_from(made.changed).unwrap_or_default();
        after = made.last_id;
        if after.is_none() || Instant::now() >= until {
            return Ok((changed, after.is_none()));
        }
    }
}
