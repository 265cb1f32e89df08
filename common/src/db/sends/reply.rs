//! Automatic replies.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::MessageId;
use crate::domain::segments::Encoding;
use crate::domain::sids::MessageSid;
use jiff::Timestamp;
use std::time::Duration;

/// An automatic reply to an inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReply {
    /// The id of the reply.
    pub id: MessageId,
    /// The SID of the inbound message.
    pub in_reply_to: MessageSid,
    /// The text.
    pub text: String,
    /// The encoding.
    pub encoding: Encoding,
    /// The number of segments.
    pub segments: i32,
    /// The trace that its sends continue.
    pub trace_context: Option<String>,
}

row! {
    /// A stored reply.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoredReply {
        /// Its id.
        pub id: MessageId,
        /// The id of the request that it belongs to.
        pub request_id: String,
    }
}

/// Our own numbers get no reply, because two of them would reply to each other.
///
/// One reply per conversation and period, and one per inbound message: the statement that moves `auto_replied_at`
/// stores the reply, and the unique `in_reply_to` prevents a second one if the batch is processed again.
const REPLY: Statement<StoredReply> = Statement::new(
    "store automatic replies",
    "
with input as (
    select distinct on (m.conversation_id) t.*, m.id as inbound_id, m.conversation_id, m.to_number,
        m.messaging_service_sid, m.request_id
    from unnest($ids::uuid[], $in_reply_to::text[], $texts::text[], $encodings::text[], $segments::int4[],
            $trace_contexts::text[])
        as t (id, twilio_sid, message_content, encoding, segments, trace_context)
    join sms_message_sids s on s.packed_sid = sms_pack_sid(t.twilio_sid)
    join sms_messages m on m.id = s.message_id
    where not exists (select from sms_messages r where r.in_reply_to = m.id)
    order by m.conversation_id, m.created_at
), locked as (
    select c.id from sms_conversations c where c.id in (select conversation_id from input)
    order by c.account_sid, c.phone_number_canonical for no key update
), claimed as (
    update sms_conversations c set auto_replied_at = $now
    from locked where c.id = locked.id
      and not sms_refuses(c.opted_out_at, c.opted_out_scopes, c.workflow_type, 'service')
      and not exists (select from sms_senders s where s.sender = c.phone_number_canonical)
      and (c.auto_replied_at is null or c.auto_replied_at <= $before)
    returning c.id, c.phone_number_canonical
)
insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
    message_content, delivery_status, encoding, segments, request_id, trace_context, in_reply_to, next_attempt_at,
    created_at)
select i.id, i.conversation_id, 'outbound', i.to_number, c.phone_number_canonical, i.messaging_service_sid,
    i.message_content, 'pending', i.encoding, i.segments, i.request_id, i.trace_context, i.inbound_id, $now, $now
from input i join claimed c on c.id = i.conversation_id
on conflict (in_reply_to) where in_reply_to is not null do nothing
returning id, coalesce(request_id, id::text) as request_id",
);

/// Stores replies, at most one per conversation and `period`, and returns the new ones, for the queue.
///
/// # Errors
///
/// [`DbError`]: a retry stores the missing ones.
pub async fn create_replies(
    db: &Db,
    replies: &[NewReply],
    now: Timestamp,
    period: Duration,
) -> Result<Vec<StoredReply>, DbError> {
    let params = params! {
        ids: replies.iter().map(|r| r.id).collect::<Vec<_>>(),
        in_reply_to: replies.iter().map(|r| &r.in_reply_to).collect::<Vec<_>>(),
        texts: replies.iter().map(|r| r.text.as_str()).collect::<Vec<_>>(),
        encodings: replies.iter().map(|r| r.encoding).collect::<Vec<_>>(),
        segments: replies.iter().map(|r| r.segments).collect::<Vec<_>>(),
        trace_contexts: replies.iter().map(|r| r.trace_context.as_deref()).collect::<Vec<_>>(),
        now,
        before: now - period,
    };
    db.query_idempotent(&REPLY, &params).await
}

statements!(REPLY);
