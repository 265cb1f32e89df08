//! Cancels messages that were not handed to Twilio.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::MessageId;
use crate::domain::message::{Direction, Status};
use jiff::Timestamp;

/// The result of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canceled {
    /// The message is canceled.
    Done,
    /// The message does not exist.
    NotFound,
    /// It is an inbound message.
    Inbound,
    /// A function is handing it to Twilio now.
    UnderWay,
    /// It has this status, and cannot be canceled.
    TooLate(Status),
}

row! {
    struct Found {
        direction: Direction,
        delivery_status: Status,
        is_claimed: bool,
        is_canceled: bool,
    }
}

/// Waits for a concurrent claim: either the claim or the cancellation wins. The event is written last.
const CANCEL: Statement<Found> = Statement::new(
    "cancel a message",
    "
with held as (
    select m.id, m.direction, m.delivery_status, m.error_code, m.claimed_at is not null as is_claimed
    from sms_messages m where m.id = $id
    for no key update
), canceled as (
    update sms_messages m set delivery_status = 'canceled', error_code = null
    from held
    where m.id = held.id and held.direction = 'outbound' and held.delivery_status = 'pending'
      and not held.is_claimed and m.twilio_sid is null
    returning m.id, held.delivery_status, held.error_code
), announced as (
    select sms_emit_status_events(
        array_agg((c.id, c.delivery_status, c.error_code, false)::sms_message_state),
        $status_event, $failed_event, $now) as events
    from canceled c
)
select h.direction, h.delivery_status, h.is_claimed, exists (select from canceled) as is_canceled
from held h cross join announced",
);

/// Cancels a pending message without a claim, due or not.
///
/// # Errors
///
/// [`DbError`]: the message may be canceled if the connection failed during the commit. A retry returns the result.
pub async fn cancel(db: &Db, id: MessageId, now: Timestamp) -> Result<Canceled, DbError> {
    let (status_event, failed_event) = (EventType::MessageStatus, EventType::MessageFailed);
    let rows = db.query_confirmed(&CANCEL, &params! { id, now, status_event, failed_event }).await?;
    let Some(found) = rows.first() else { return Ok(Canceled::NotFound) };
    Ok(match (found.direction, found.delivery_status) {
        _ if found.is_canceled => Canceled::Done,
        (Direction::Inbound, _) => Canceled::Inbound,
        (Direction::Outbound, Status::Pending) if found.is_claimed => Canceled::UnderWay,
        (Direction::Outbound, status) => Canceled::TooLate(status),
    })
}

statements!(CANCEL);
