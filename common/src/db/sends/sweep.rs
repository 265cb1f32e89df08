//! Ends claims of functions that crashed.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::MessageId;
use jiff::Timestamp;

row! {
    struct Ended {
        id: MessageId,
        is_unknown: bool,
    }
}

/// The steps of the statement:
/// - `abandoned`: messages with an expired claim;
/// - `attempt`: their attempts without an outcome, which is now unknown;
/// - `ended`: ends the claims. A message whose attempt has an outcome is not changed: a callback reported it, and
///   perhaps scheduled another create;
/// - `announced`: the events, last.
const ABANDONED: Statement<Ended> = Statement::new(
    "end abandoned claims",
    "
with abandoned as (
    select id, delivery_status, error_code, parked_at is not null as is_parked
    from sms_messages where claimed_at < $claimed_before order by id limit $limit
    for no key update skip locked
), attempt as (
    update sms_send_attempts a
    set outcome = 'unknown', finished_at = $now, detail = 'the function ended before the outcome was recorded'
    from abandoned where a.message_id = abandoned.id and a.outcome is null
    returning a.message_id
), ended as (
    update sms_messages m
    set claimed_at = null,
        delivery_status = case when attempt.message_id is not null and m.delivery_status = 'pending' then 'unknown'
                               else m.delivery_status end
    from abandoned left join attempt on attempt.message_id = abandoned.id
    where m.id = abandoned.id
    returning m.id, m.delivery_status,
        (m.id, abandoned.delivery_status, abandoned.error_code, abandoned.is_parked)::sms_message_state as before
), announced as (
    select sms_emit_status_events(array_agg(e.before), $status_event, $failed_event, $now) as events from ended e
)
select e.id, e.delivery_status = 'unknown' as is_unknown from ended e cross join announced",
);

/// The ended claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// Their number.
    pub ended: usize,
    /// The messages whose outcome is now unknown.
    pub unknown: Vec<MessageId>,
}

/// Ends the claims of functions that crashed. If the outcome is not known, the message becomes `unknown` and is not
/// sent again.
///
/// # Errors
///
/// [`DbError`]: the next run finds them.
pub async fn abandon_claims(
    db: &Db,
    claimed_before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Abandoned, DbError> {
    let (status_event, failed_event) = (EventType::MessageStatus, EventType::MessageFailed);
    let params = params! { claimed_before, limit, now, status_event, failed_event };
    let rows = db.query(&ABANDONED, &params).await?;
    let unknown = rows.iter().filter(|row| row.is_unknown).map(|row| row.id).collect();
    Ok(Abandoned { ended: rows.len(), unknown })
}

statements!(ABANDONED);
