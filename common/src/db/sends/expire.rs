//! Expires messages that were never claimed: held, paced, or in quiet hours.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::MessageId;
use jiff::Timestamp;
use std::time::Duration;

row! {
    struct Expired {
        id: MessageId,
    }
}

/// Each pending message is in one of two indexes. Locked rows are skipped, and messages of a paused batch do not age.
/// Events are written last.
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
      and coalesce(send_at, created_at) <= $oldest and next_attempt_at < sms_paused_until()
    limit $limit for no key update skip locked
), before as (
    select m.id, m.error_code from sms_messages m where m.id in (select id from late union all select id from old)
), expired as (
    update sms_messages m set delivery_status = 'failed', error_code = 'retries_exhausted'
    from before b where m.id = b.id
    returning m.id, b.error_code
), announced as (
    select sms_emit_status_events(
        array_agg((e.id, 'pending', e.error_code, false)::sms_message_state),
        $status_event, $failed_event, $now) as events
    from expired e
)
select e.id from expired e cross join announced",
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
    let (status_event, failed_event) = (EventType::MessageStatus, EventType::MessageFailed);
    let params = params! { now, oldest: now - max_age, limit, status_event, failed_event };
    let rows = db.query(&EXPIRE, &params).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

statements!(EXPIRE);
