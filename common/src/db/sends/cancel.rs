//! Cancelling what has not been handed to Twilio.

use crate::db::{Db, DbError, Type};
use uuid::Uuid;

/// What became of a request to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canceled {
    /// It will not be sent.
    Done,
    /// There is no such message.
    NotFound,
    /// It came in: there is nothing to cancel.
    Inbound,
    /// A function is handing it to Twilio.
    UnderWay,
    /// It has this status: it may have been handed over, or was, or has ended.
    TooLate(String),
}

/// Whoever is claiming the message is waited for: then it is his, or it is canceled and he does not get it.
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

/// Cancels a message that is pending and held by nobody, whether its time has come or not.
///
/// # Errors
///
/// [`DbError`]: the message may be canceled all the same when the connection broke at the very end; asking again tells.
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
