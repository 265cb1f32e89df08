//! Cleanup by schedules.

use super::sends::IDEMPOTENCY_TTL;
use super::{Db, DbError, Statement, params, statements};
use jiff::Timestamp;
use std::time::Duration;

/// How long the counts of a minute are kept. They are read in that minute and the next one. A request that began then
/// may still wait for Postgres, and clocks differ.
const KEY_USAGE_TTL: Duration = Duration::from_secs(10 * 60);

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

const FORGET_USAGE: Statement<()> = Statement::new(
    "delete the usage of API keys",
    "
with old as (
    select api_key_id, minute, shard from sms_key_usage where minute < $before limit $limit
    for update skip locked
)
delete from sms_key_usage u using old
where u.api_key_id = old.api_key_id and u.minute = old.minute and u.shard = old.shard",
);

/// Deletes counts of past minutes (`rate_limits`), at most `limit`.
///
/// # Errors
///
/// [`DbError`]: the next run continues.
pub async fn forget_key_usage(db: &Db, now: Timestamp, limit: i64) -> Result<(), DbError> {
    db.query_idempotent(&FORGET_USAGE, &params! { before: now - KEY_USAGE_TTL, limit }).await.map(drop)
}

statements!(FORGET, FORGET_USAGE);
