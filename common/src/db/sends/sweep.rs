//! What a sweep finds: messages that are due, and claims of functions that died.

use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use uuid::Uuid;

const NOT_ENQUEUED: &str = "update sms_messages set enqueued_at = null where id = any($1)";

/// Notes that messages could not be put on their queue, so that the next sweep does.
///
/// # Errors
///
/// [`DbError`]; the sweep then waits for the time after which it takes any queued message for lost.
pub async fn not_enqueued(db: &Db, ids: &[Uuid]) -> Result<(), DbError> {
    db.query_idempotent("note messages as not queued", NOT_ENQUEUED, &[(&ids, Type::UUID_ARRAY)])
        .await
        .map(drop)
}

pub(crate) const DUE: &str = "
with due as (
    select id from sms_messages
    where delivery_status = 'pending' and twilio_sid is null and claimed_at is null and next_attempt_at <= $1
      and (enqueued_at is null or enqueued_at <= $2)
    order by next_attempt_at limit $3
    for no key update skip locked
)
update sms_messages m set enqueued_at = $1 from due where m.id = due.id
returning m.id, coalesce(m.request_id, m.id::text)";

/// Takes pending messages that are due and not on their queue, or were put there before `lost_before` and never
/// arrived, and notes them as queued. Returns their ids and request ids, for the queue.
///
/// # Errors
///
/// [`DbError`]; the next sweep finds them.
pub async fn take_due(
    db: &Db,
    now: Timestamp,
    lost_before: Timestamp,
    limit: i64,
) -> Result<Vec<(Uuid, String)>, DbError> {
    let rows = db
        .query(
            "find messages to send",
            DUE,
            &[(&now, Type::TIMESTAMPTZ), (&lost_before, Type::TIMESTAMPTZ), (&limit, Type::INT8)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(crate) const ABANDONED: &str = "
with abandoned as (
    select id from sms_messages where claimed_at < $1 order by id limit $2 for no key update skip locked
), attempt as (
    update sms_send_attempts a
    set outcome = 'unknown', finished_at = $3, detail = 'the function ended before the outcome was recorded'
    from abandoned where a.message_id = abandoned.id and a.outcome is null
)
update sms_messages m
set claimed_at = null,
    delivery_status = case when m.delivery_status = 'pending' then 'unknown' else m.delivery_status end
from abandoned where m.id = abandoned.id
returning m.id";

/// Ends the claims of functions that died: what they did is not known, so their messages become `unknown` rather
/// than being sent again. Returns the messages.
///
/// # Errors
///
/// [`DbError`]; the next sweep finds them.
pub async fn abandon_claims(
    db: &Db,
    claimed_before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, DbError> {
    let rows = db
        .query(
            "end abandoned claims",
            ABANDONED,
            &[(&claimed_before, Type::TIMESTAMPTZ), (&limit, Type::INT8), (&now, Type::TIMESTAMPTZ)],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
