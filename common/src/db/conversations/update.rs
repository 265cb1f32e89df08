//! Updates the fields that routers set.

use super::Conversation;
use crate::db::{Db, DbError, Statement, params};
use crate::domain::sids::AccountSid;
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
/// - `changed`: the updated conversation;
/// - `looked_at_again`: the messages that wait for the end of quiet hours by another clock than the new one. They are
///   due now, and the next claim looks at the new one.
pub(super) const UPDATE: Statement<Conversation> = Statement::new(
    "update a conversation",
    "
with conversation as (
    select c.id, c.time_zone from unnest($variants::text[]) with ordinality as v (number, position)
    join sms_conversations c on c.account_sid = $account_sid and c.phone_number_canonical = v.number
    order by v.position limit 1
    for no key update of c
), changed as (
    update sms_conversations c
    set workflow_type = case when $sets_workflow_type then $workflow_type else c.workflow_type end,
        workflow_id = case when $sets_workflow_id then $workflow_id else c.workflow_id end,
        conversation_status =
            case when $sets_status then coalesce($conversation_status, 'open') else c.conversation_status end,
        time_zone = case when $sets_time_zone then $time_zone else c.time_zone end
    from conversation where c.id = conversation.id
    returning c.*
), looked_at_again as (
    update sms_messages m set next_attempt_at = $now, quiet_until = null
    from changed join conversation on conversation.id = changed.id
    where m.conversation_id = changed.id and changed.time_zone is distinct from conversation.time_zone
      and m.delivery_status = 'pending' and m.claimed_at is null and m.quiet_until = m.next_attempt_at
)
select id as conversation_id, phone_number_canonical, phone_number_original, tenant_id, tenant_candidates,
    workflow_type, workflow_id, conversation_status, time_zone, language_detected,
    language_confidence as conversation_language_confidence, opted_out_at, carrier_blocked_at, deactivated_at,
    last_message_at, message_count
from changed",
);

/// Changes a conversation, found by the first known variant of its number, and returns the changed conversation.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn update(
    db: &Db,
    account_sid: &AccountSid,
    variants: &[String],
    changes: &Changes,
    now: Timestamp,
) -> Result<Option<Conversation>, DbError> {
    let Changes { workflow_type, workflow_id, conversation_status, time_zone } = changes;
    let params = params! {
        account_sid,
        variants,
        sets_workflow_type: workflow_type.is_some(),
        workflow_type: workflow_type.as_ref().and_then(Option::as_deref),
        sets_workflow_id: workflow_id.is_some(),
        workflow_id: workflow_id.as_ref().and_then(Option::as_deref),
        sets_status: conversation_status.is_some(),
        conversation_status: conversation_status.as_ref().and_then(Option::as_deref),
        sets_time_zone: time_zone.is_some(),
        time_zone: time_zone.as_ref().and_then(Option::as_deref),
        now,
    };
    Ok(db.query_idempotent(&UPDATE, &params).await?.into_iter().next())
}
