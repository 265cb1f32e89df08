//! Updates the fields that routers set.

use super::Conversation;
use crate::db::{Db, DbError, Type};
use jiff::Timestamp;

/// The changes: `None` keeps a field, `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The workflow.
    pub workflow_type: Option<Option<String>>,
    /// The instance of the workflow.
    pub workflow_id: Option<Option<String>>,
    /// The status. Clearing it sets `open`.
    pub conversation_status: Option<Option<String>>,
    /// The recipient's time zone, an IANA name.
    pub time_zone: Option<Option<String>>,
}

/// The steps of the statement:
/// - `conversation`: the first variant of the number that is known;
/// - `changed`: what it holds from here on;
/// - `looked_at_again`: the messages that wait for the end of quiet hours by another clock than the new one. They are
///   due now, and the next claim looks at the new one.
const UPDATE: &str = "
with conversation as (
    select c.id, c.time_zone from unnest($2::text[]) with ordinality as v (number, position)
    join sms_conversations c on c.account_sid = $1 and c.phone_number_canonical = v.number
    order by v.position limit 1
    for no key update of c
), changed as (
    update sms_conversations c
    set workflow_type = case when $3 then $4 else c.workflow_type end,
        workflow_id = case when $5 then $6 else c.workflow_id end,
        conversation_status = case when $7 then coalesce($8, 'open') else c.conversation_status end,
        time_zone = case when $9 then $10 else c.time_zone end
    from conversation where c.id = conversation.id
    returning c.*
), looked_at_again as (
    update sms_messages m set next_attempt_at = $11, quiet_until = null
    from changed join conversation on conversation.id = changed.id
    where m.conversation_id = changed.id and changed.time_zone is distinct from conversation.time_zone
      and m.delivery_status = 'pending' and m.claimed_at is null and m.quiet_until = m.next_attempt_at
)
select id, phone_number_canonical, phone_number_original, tenant_id, tenant_candidates, workflow_type, workflow_id,
    conversation_status, time_zone, language_detected, language_confidence, opted_out_at, carrier_blocked_at,
    last_message_at, message_count
from changed";

/// Changes a conversation, found by the first variant of its number that is known, and returns it as it is then.
///
/// # Errors
///
/// [`DbError`]; making the same change again is always safe.
pub async fn update(
    db: &Db,
    account_sid: &str,
    variants: &[String],
    changes: &Changes,
    now: Timestamp,
) -> Result<Option<Conversation>, DbError> {
    let Changes { workflow_type, workflow_id, conversation_status, time_zone } = changes;
    let params = [
        (&account_sid as _, Type::TEXT),
        (&variants as _, Type::TEXT_ARRAY),
        (&workflow_type.is_some() as _, Type::BOOL),
        (&workflow_type.as_ref().and_then(Option::as_deref) as _, Type::TEXT),
        (&workflow_id.is_some() as _, Type::BOOL),
        (&workflow_id.as_ref().and_then(Option::as_deref) as _, Type::TEXT),
        (&conversation_status.is_some() as _, Type::BOOL),
        (&conversation_status.as_ref().and_then(Option::as_deref) as _, Type::TEXT),
        (&time_zone.is_some() as _, Type::BOOL),
        (&time_zone.as_ref().and_then(Option::as_deref) as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query_idempotent("change a conversation", UPDATE, &params).await?;
    Ok(rows.first().map(|row| Conversation {
        id: row.get(0),
        phone_number_canonical: row.get(1),
        phone_number_original: row.get(2),
        tenant_id: row.get(3),
        tenant_candidates: row.get(4),
        workflow_type: row.get(5),
        workflow_id: row.get(6),
        conversation_status: row.get(7),
        time_zone: row.get(8),
        language_detected: row.get(9),
        language_confidence: row.get(10),
        opted_out_at: row.get(11),
        carrier_blocked_at: row.get(12),
        last_message_at: row.get(13),
        message_count: row.get(14),
    }))
}
