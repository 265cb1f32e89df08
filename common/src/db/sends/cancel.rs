//! Cancels messages that were not handed to Twilio.

use crate::db::{Db, DbError, Type};
use uuid::Uuid;

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
    TooLate(String),
}

/// Waits for a concurrent claim: either the claim or the cancellation wins.
pub(crate) const CANCEL: &str = "
with held as (
    select m.id, m.direction, m.delivery_status, m.claimed_at is not null as is_claimed
    from sms_messages m where m.id = $1
    for no key update
), canceled as (
    update sms_messages m set delivery_status = 'canceled', error_code = null
    from held
    where m.id = held.id and held.direction = 'outbound' and held.delivery_status = 'pending'
      and not held.is_claimed and m.twilio_sid is null
    returning m.id
)
select h.direction, h.delivery_status, h.is_claimed, exists (select from canceled) from held h";

/// Cancels a pending message without a claim, due or not.
///
/// # Errors
///
/// [`DbError`]: the message may be canceled if the connection failed during the commit. A retry returns the result.
pub async fn cancel(db: &Db, id: Uuid) -> Result<Canceled, DbError> {
    let rows = db.query_confirmed("cancel a message", CANCEL, &[(&id, Type::UUID)]).await?;
    let Some(row) = rows.first() else { return Ok(Canceled::NotFound) };
    let (direction, status, is_claimed): (&str, &str, bool) = (row.get(0), row.get(1), row.get(2));
    Ok(match (row.get::<_, bool>(3), direction, status) {
        (true, _, _) => Canceled::Done,
        (false, "inbound", _) => Canceled::Inbound,
        (false, _, "pending") if is_claimed => Canceled::UnderWay,
        (false, _, status) => Canceled::TooLate(status.to_owned()),
    })
}
