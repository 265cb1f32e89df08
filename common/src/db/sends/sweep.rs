//! What a sweep finds: claims of functions that died.

use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use uuid::Uuid;

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
