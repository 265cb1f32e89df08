//! Automatic replies.

use crate::db::{Db, DbError, Type};
use jiff::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// An automatic reply to an inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReply {
    /// The id of the reply.
    pub id: Uuid,
    /// The SID of the inbound message.
    pub in_reply_to: String,
    /// The text.
    pub text: String,
    /// `GSM-7` or `UCS-2`.
    pub encoding: &'static str,
    /// The number of segments.
    pub segments: i32,
}

/// Our own numbers get no reply, because two of them would reply to each other.
///
/// One reply per conversation and period, and one per inbound message: the statement that moves `auto_replied_at`
/// stores the reply, and the unique `in_reply_to` prevents a second one if the batch is processed again.
pub(crate) const REPLY: &str = "
with input as (
    select distinct on (m.conversation_id) t.*, m.id as inbound_id, m.conversation_id, m.to_number,
        m.messaging_service_sid, m.request_id
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int4[])
        as t (id, twilio_sid, message_content, encoding, segments)
    join sms_messages m on m.twilio_sid = t.twilio_sid
    where not exists (select from sms_messages r where r.in_reply_to = m.id)
    order by m.conversation_id, m.created_at
), locked as (
    select c.id from sms_conversations c where c.id in (select conversation_id from input)
    order by c.account_sid, c.phone_number_canonical for no key update
), claimed as (
    update sms_conversations c set auto_replied_at = $6
    from locked where c.id = locked.id and c.opted_out_at is null
      and not exists (select from sms_senders s where s.sender = c.phone_number_canonical)
      and (c.auto_replied_at is null or c.auto_replied_at <= $7)
    returning c.id, c.phone_number_canonical
)
insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
    message_content, delivery_status, encoding, segments, request_id, in_reply_to, next_attempt_at, created_at)
select i.id, i.conversation_id, 'outbound', i.to_number, c.phone_number_canonical, i.messaging_service_sid,
    i.message_content, 'pending', i.encoding, i.segments, i.request_id, i.inbound_id, $6, $6
from input i join claimed c on c.id = i.conversation_id
on conflict (in_reply_to) do nothing
returning id, coalesce(request_id, id::text)";

/// Stores replies, at most one per conversation and `period`, and returns their ids and request ids for the queue.
///
/// # Errors
///
/// [`DbError`]: a retry stores the missing ones.
pub async fn create_replies(
    db: &Db,
    replies: &[NewReply],
    now: Timestamp,
    period: Duration,
) -> Result<Vec<(Uuid, String)>, DbError> {
    let ids: Vec<Uuid> = replies.iter().map(|r| r.id).collect();
    let sids: Vec<&str> = replies.iter().map(|r| r.in_reply_to.as_str()).collect();
    let texts: Vec<&str> = replies.iter().map(|r| r.text.as_str()).collect();
    let encodings: Vec<&str> = replies.iter().map(|r| r.encoding).collect();
    let segments: Vec<i32> = replies.iter().map(|r| r.segments).collect();
    let before = now - period;
    let rows = db
        .query_idempotent(
            "store automatic replies",
            REPLY,
            &[
                (&ids, Type::UUID_ARRAY),
                (&sids, Type::TEXT_ARRAY),
                (&texts, Type::TEXT_ARRAY),
                (&encodings, Type::TEXT_ARRAY),
                (&segments, Type::INT4_ARRAY),
                (&now, Type::TIMESTAMPTZ),
                (&before, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
