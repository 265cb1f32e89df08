//! Cleanup by schedules.

use super::sends::IDEMPOTENCY_TTL;
use super::{Db, DbError, Type};
use jiff::Timestamp;

const FORGET: &str = "
with old as (
    select api_key_id, idempotency_key from idempotency_keys where created_at < $1 limit $2
    for update skip locked
)
delete from idempotency_keys k using old
where k.api_key_id = old.api_key_id and k.idempotency_key = old.idempotency_key";

/// Deletes expired idempotency keys, at most `limit`.
///
/// # Errors
///
/// [`DbError`]: the next run continues.
pub async fn forget_idempotency_keys(db: &Db, now: Timestamp, limit: i64) -> Result<(), DbError> {
    let before = now - IDEMPOTENCY_TTL;
    db.query_idempotent(
        "forget idempotency keys",
        FORGET,
        &[(&before, Type::TIMESTAMPTZ), (&limit, Type::INT8)],
    )
    .await
    .map(drop)
}
