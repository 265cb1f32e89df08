//! Expires messages that were never claimed: held, paced, or in quiet hours.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::MessageId;
use jiff::Timestamp;
use std::time::Duration;

row! {
    struct Expired {
        id: MessageId,
    }
}

/// Each pending message is in one of two indexes. Locked rows are skipped.
const EXPIRE: Statement<Expired> = Statement::new(
    "fail expired messages",
    "
with late as (
    select id from sms_messages
    where delivery_status = 'pending' and claimed_at is null and twilio_sid is null and send_before <= $now
    limit $limit for no key update skip locked
), old as (
    select id from sms_messages
    where delivery_status = 'pending' and claimed_at is null and twilio_sid is null and send_before is null
      and coalesce(send_at, created_at) <= $oldest
    limit $limit for no key update skip locked
)
update sms_messages m set delivery_status = 'failed', error_code = 'retries_exhausted'
where m.id in (select id from late union all select id from old)
returning m.id",
);

/// Fails pending messages whose `send_before` has passed, or that are older than `max_age`, and returns them.
///
/// # Errors
///
/// [`DbError`]: the next run finds them.
pub async fn expire(
    db: &Db,
    now: Timestamp,
    max_age: Duration,
    limit: i64,
) -> Result<Vec<MessageId>, DbError> {
    let rows = db.query(&EXPIRE, &params! { now, oldest: now - max_age, limit }).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

statements!(EXPIRE);
