//! Cleanup by schedules.

use super::sends::IDEMPOTENCY_TTL;
use super::{Db, DbError, Statement, params, statements};
use jiff::Timestamp;

const FORGET: Statement<()> = Statement::new(
    "delete idempotency keys",
    "
with old as (
    select api_key_id, idempotency_key from idempotency_keys where created_at < $before limit $limit
    for update skip locked
)
delete from idempotency_keys k using old
where k.api_key_id = old.api_key_id and k.idempotency_key = old.idempotency_key",
);

/// Deletes expired idempotency keys, at most `limit`.
///
/// # Errors
///
/// [`DbError`]: the next run continues.
pub async fn forget_idempotency_keys(db: &Db, now: Timestamp, limit: i64) -> Result<(), DbError> {
    db.query_idempotent(&FORGET, &params! { before: now - IDEMPOTENCY_TTL, limit }).await.map(drop)
}

statements!(FORGET);
