//! Clarifications: the only messages that may be sent after an opt-out.

use super::{NewReply, StoredReply};
use crate::db::{Db, DbError, Statement, params, statements};
use jiff::Timestamp;
use std::time::Duration;

/// - `input`: per conversation the latest refusal, or else the latest text that may be one; new and not answered yet.
/// - `claimed`: conversations that get one. After a refusal, the opt-out must still be in force and be one that the
///   answer may pass; any other opt-out excludes it. One per conversation until the number opts in.
///
/// The condition is that of the gate (`migrations/functions/sms_pass_send_gate.sql`), which checks it again.
const CLARIFY: Statement<StoredReply> = Statement::new(
    "store clarifications",
    "
with input as (
    select distinct on (m.conversation_id) t.*, m.id as inbound_id, m.conversation_id, m.to_number,
        m.messaging_service_sid, m.request_id, m.opt_out = 'opt_out' as is_refusal,
        m.created_at + make_interval(secs => $valid_seconds) as expires_at
    from unnest($ids::uuid[], $in_reply_to::text[], $texts::text[], $encodings::text[], $segments::int4[],
            $trace_contexts::text[])
        as t (id, twilio_sid, message_content, encoding, segments, trace_context)
    join sms_message_sids s on s.packed_sid = sms_pack_sid(t.twilio_sid)
    join sms_messages m on m.id = s.message_id
    where m.created_at + make_interval(secs => $valid_seconds) > $now
      and not exists (select from sms_messages r where r.in_reply_to = m.id)
    order by m.conversation_id, is_refusal desc, m.created_at desc
), locked as (
    select c.id from sms_conversations c where c.id in (select conversation_id from input)
    order by c.account_sid, c.phone_number_canonical for no key update
), claimed as (
    update sms_conversations c set clarified_at = $now
    from locked join input i on i.conversation_id = locked.id
    where c.id = locked.id and (c.opted_out_at is not null) = i.is_refusal
      and not sms_refuses(case when not sms_may_clarify(i.inbound_id) then c.opted_out_at end,
                          c.opted_out_scopes, c.workflow_type, 'service')
      and not exists (select from sms_senders s where s.sender = c.phone_number_canonical)
      and (c.clarified_at is null or exists (
          select from sms_opt_out_events o
          where o.conversation_id = c.id and o.action = 'opt_in' and o.scope = 'all' and o.created_at > c.clarified_at))
    returning c.id, c.phone_number_canonical
)
insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
    message_content, delivery_status, encoding, segments, priority, request_id, trace_context, in_reply_to,
    is_clarification, send_before, next_attempt_at, created_at)
select i.id, i.conversation_id, 'outbound', i.to_number, c.phone_number_canonical, i.messaging_service_sid,
    i.message_content, 'pending', i.encoding, i.segments, 'urgent', i.request_id, i.trace_context, i.inbound_id,
    true, i.expires_at, $now, $now
from input i join claimed c on c.id = i.conversation_id
on conflict (in_reply_to) where in_reply_to is not null do nothing
returning id, coalesce(request_id, id::text) as request_id",
);

/// Stores clarifications, at most one per conversation until its number opts in, and returns the new ones, for the
/// queue. They are urgent, because they expire when `valid` has passed since the answered message.
///
/// # Errors
///
/// [`DbError`]: a retry stores the missing ones.
pub async fn create_clarifications(
    db: &Db,
    replies: &[NewReply],
    now: Timestamp,
    valid: Duration,
) -> Result<Vec<StoredReply>, DbError> {
    let params = params! {
        ids: replies.iter().map(|r| r.id).collect::<Vec<_>>(),
        in_reply_to: replies.iter().map(|r| &r.in_reply_to).collect::<Vec<_>>(),
        texts: replies.iter().map(|r| r.text.as_str()).collect::<Vec<_>>(),
        encodings: replies.iter().map(|r| r.encoding).collect::<Vec<_>>(),
        segments: replies.iter().map(|r| r.segments).collect::<Vec<_>>(),
        trace_contexts: replies.iter().map(|r| r.trace_context.as_deref()).collect::<Vec<_>>(),
        now,
        valid_seconds: valid.as_secs_f64(),
    };
    db.query_idempotent(&CLARIFY, &params).await
}

statements!(CLARIFY);
