//! Reads single messages with all details.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::{BatchId, ConversationId, MessageId};
use crate::domain::keywords::OptOut;
use crate::domain::language::Language;
use crate::domain::message::{Direction, Priority, Purpose, Status};
use crate::domain::metadata::Metadata;
use crate::domain::segments::Encoding;
use crate::domain::sids::MessageSid;
use jiff::Timestamp;
use serde_json::Value;

row! {
    /// A message with its attempts and its history.
    #[derive(Debug, Clone, PartialEq)]
    pub struct MessageDetails {
        /// Its id.
        pub id: MessageId,
        /// Its conversation.
        pub conversation_id: ConversationId,
        /// Its direction.
        pub direction: Direction,
        /// Its sender.
        pub from_number: Option<String>,
        /// Its recipient.
        pub to_number: String,
        /// The messaging service.
        pub messaging_service_sid: Option<String>,
        /// The sender that the conversation used before, if it is not configured any more.
        pub replaced_from: Option<String>,
        /// The batch of a bulk request.
        pub batch_id: Option<BatchId>,
        /// Its text.
        pub message_content: String,
        /// Its files: `[{id, url, content_type, size, sha256, status}]` of an inbound message, `[{url, content_type}]`
        /// of an outbound one.
        pub media: Value,
        /// The message SID of its latest create, if there is one.
        pub twilio_sid: Option<MessageSid>,
        /// Its status.
        pub delivery_status: Status,
        /// Why it failed, or why it is still pending.
        pub error_code: Option<String>,
        /// The encoding of an outbound message.
        pub encoding: Option<Encoding>,
        /// The number of segments of outbound messages.
        pub segments: Option<i32>,
        /// The detected language.
        pub language: Language,
        /// The confidence, 0 to 1.
        pub language_confidence: f64,
        /// Whether an inbound message is an opt-out.
        pub opt_out: Option<OptOut>,
        /// Its priority.
        pub priority: Priority,
        /// What it is for.
        pub purpose: Purpose,
        /// The workflow that requested it.
        pub workflow_type: Option<String>,
        /// The instance of the workflow.
        pub workflow_id: Option<String>,
        /// The caller's metadata.
        pub metadata: Option<Metadata>,
        /// The earliest time to send.
        pub send_at: Option<Timestamp>,
        /// The latest time to send.
        pub send_before: Option<Timestamp>,
        /// The time of the next attempt, while it is pending.
        pub next_attempt_at: Option<Timestamp>,
        /// When it was parked for an operator.
        pub parked_at: Option<Timestamp>,
        /// When it was received or requested.
        pub created_at: Timestamp,
        /// The attempts, oldest first: `[{number, outcome, …}]`.
        pub attempts: Value,
        /// The status callbacks in the order of arrival: `[{status, error_code, …}]`.
        pub history: Value,
    }
}

/// Postgres returns attempts and history as JSON: one round trip and one row. A message that waits for another create
/// shows its latest SID. The next attempt of one that waits for a daily limit is on the next day.
const FIND: Statement<MessageDetails> = Statement::new(
    "read a message",
    "
select m.id, m.conversation_id, m.direction, m.from_number, m.to_number, m.messaging_service_sid, m.replaced_from,
    m.batch_id,
    m.message_content,
    case when m.direction = 'inbound' and m.media <> '[]' then sms_message_media(m.id, m.media)
        else m.media end as media,
    coalesce(m.twilio_sid,
        (select a.twilio_sid from sms_send_attempts a
         where a.message_id = m.id and a.twilio_sid is not null order by a.number desc limit 1)) as twilio_sid,
    m.delivery_status, m.error_code, m.encoding, m.segments, m.language, m.language_confidence,
    m.priority, m.purpose, m.workflow_type, m.workflow_id, m.metadata, m.send_at, m.send_before, m.created_at,
    (select coalesce(jsonb_agg(jsonb_build_object('number', a.number, 'outcome', a.outcome, 'twilio_sid', a.twilio_sid,
            'error_code', a.error_code, 'detail', a.detail, 'started_at', a.started_at, 'finished_at', a.finished_at)
            order by a.number), '[]')
     from sms_send_attempts a where a.message_id = m.id) as attempts,
    (select coalesce(jsonb_agg(jsonb_build_object('status', e.event_status, 'error_code', e.error_code,
            'twilio_sid', sms_unpack_sid(e.packed_sid), 'contradicts', e.contradicts, 'at', e.created_at)
            order by e.created_at, e.event_id), '[]')
     from sms_callbacks e
     where e.message_id = m.id and e.packed_sid in (
         select sms_pack_sid(a.twilio_sid) from sms_send_attempts a where a.message_id = m.id
         union select sms_pack_sid(m.twilio_sid))) as history,
    case when m.delivery_status = 'pending' and m.claimed_at is null and m.next_attempt_at < sms_paused_until()
        then greatest(m.next_attempt_at, (select s.day_full_until from sms_senders s where s.sender = m.sender))
        end as next_attempt_at,
    m.parked_at, m.opt_out
from sms_messages m where m.id = $id",
);

/// Reads a message.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find(db: &Db, id: MessageId) -> Result<Option<MessageDetails>, DbError> {
    Ok(db.query_idempotent(&FIND, &params! { id }).await?.into_iter().next())
}

statements!(FIND);
