//! What a sweep finds: claims of functions that died.

use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use uuid::Uuid;

/// The steps of the statement:
/// - `abandoned`: the messages whose function has held them for too long;
/// - `attempt`: their attempts whose outcome is open, which nobody knows now;
/// - `ended`: the claims end. A message whose attempt is not open stays as it is: a callback told what became of that one,
///   and perhaps that another create is to follow.
pub(crate) const ABANDONED: &str = "
with abandoned as (
    select id from sms_messages where claimed_at < $1 order by id limit $2 for no key update skip locked
), attempt as (
    update sms_send_attempts a
    set outcome = 'unknown', finished_at = $3, detail = 'the function ended before the outcome was recorded'
    from abandoned where a.message_id = abandoned.id and a.outcome is null
    returning a.message_id
), ended as (
    update sms_messages m
    set claimed_at = null,
        delivery_status = case when attempt.message_id is not null and m.delivery_status = 'pending' then 'unknown'
                               else m.delivery_status end
    from abandoned left join attempt on attempt.message_id = abandoned.id
    where m.id = abandoned.id
    returning m.id, m.delivery_status
)
select id, delivery_status = 'unknown' from ended";

/// What became of the claims of functions that died.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// How many ended.
    pub ended: usize,
    /// The messages of which it is not known now whether Twilio took them.
    pub unknown: Vec<Uuid>,
}

/// Ends the claims of functions that died: where it is not known what they did, the message becomes `unknown` rather than
/// being sent again.
///
/// # Errors
///
/// [`DbError`]; the next sweep finds them.
pub async fn abandon_claims(
    db: &Db,
    claimed_before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Abandoned, DbError> {
    let rows = db
        .query(
            "end abandoned claims",
            ABANDONED,
            &[(&claimed_before, Type::TIMESTAMPTZ), (&limit, Type::INT8), (&now, Type::TIMESTAMPTZ)],
        )
        .await?;
    let unknown = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
    Ok(Abandoned { ended: rows.len(), unknown })
}
