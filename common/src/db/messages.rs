//! Reads single messages with all details.

use super::{Db, DbError, Json, Type};
use crate::domain::metadata::Metadata;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// A message with its attempts and its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Its sender.
    pub from_number: Option<String>,
    /// Its recipient.
    pub to_number: String,
    /// The messaging service.
    pub messaging_service_sid: Option<String>,
    /// Its text.
    pub message_content: String,
    /// References to its media.
    pub media: Value,
    /// The message SID of its latest create, if there is one.
    pub twilio_sid: Option<String>,
    /// Its status.
    pub delivery_status: String,
    /// Why it failed, or why it is still pending.
    pub error_code: Option<String>,
    /// `GSM-7` or `UCS-2` for outbound messages.
    pub encoding: Option<String>,
    /// The number of segments of outbound messages.
    pub segments: Option<i32>,
    /// `en`, `es`, `pt` or `unknown`.
    pub language: String,
    /// The confidence, 0 to 1.
    pub language_confidence: f64,
    /// `opt_out`, `unsure` or `none` for inbound messages.
    pub opt_out: Option<String>,
    /// `urgent`, `normal` or `bulk`.
    pub priority: String,
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

/// Postgres returns attempts and history as JSON: one round trip and one row. A message that waits for another create
/// shows its latest SID.
pub(crate) const FIND: &str = "
select m.id, m.conversation_id, m.direction, m.from_number, m.to_number, m.messaging_service_sid, m.message_content,
    m.media,
    coalesce(m.twilio_sid, (select a.twilio_sid from sms_send_attempts a
                            where a.message_id = m.id and a.twilio_sid is not null order by a.number desc limit 1)),
    m.delivery_status, m.error_code, m.encoding, m.segments, m.language, m.language_confidence,
    m.priority, m.workflow_type, m.workflow_id, m.metadata, m.send_at, m.send_before, m.created_at,
    (select coalesce(jsonb_agg(jsonb_build_object('number', a.number, 'outcome', a.outcome, 'twilio_sid', a.twilio_sid,
            'error_code', a.error_code, 'detail', a.detail, 'started_at', a.started_at, 'finished_at', a.finished_at)
            order by a.number), '[]')
     from sms_send_attempts a where a.message_id = m.id),
    (select coalesce(jsonb_agg(jsonb_build_object('status', e.event_status, 'error_code', e.error_code,
            'twilio_sid', e.twilio_sid, 'contradicts', e.contradicts, 'at', e.created_at)
            order by e.created_at, e.id), '[]')
     from sms_message_status_events e where e.message_id = m.id),
    case when m.delivery_status = 'pending' and m.claimed_at is null then m.next_attempt_at end, m.parked_at,
    m.opt_out
from sms_messages m where m.id = $1";

/// Reads a message.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<Message>, DbError> {
    let rows = db.query_idempotent("read a message", FIND, &[(&id, Type::UUID)]).await?;
    Ok(rows.first().map(|row| Message {
        id: row.get(0),
        conversation_id: row.get(1),
        direction: row.get(2),
        from_number: row.get(3),
        to_number: row.get(4),
        messaging_service_sid: row.get(5),
        message_content: row.get(6),
        media: row.get(7),
        twilio_sid: row.get(8),
        delivery_status: row.get(9),
        error_code: row.get(10),
        encoding: row.get(11),
        segments: row.get(12),
        language: row.get(13),
        language_confidence: row.get(14),
        priority: row.get(15),
        workflow_type: row.get(16),
        workflow_id: row.get(17),
        metadata: row.get::<_, Option<Json<Metadata>>>(18).map(|Json(metadata)| metadata),
        send_at: row.get(19),
        send_before: row.get(20),
        created_at: row.get(21),
        attempts: row.get(22),
        history: row.get(23),
        next_attempt_at: row.get(24),
        parked_at: row.get(25),
        opt_out: row.get(26),
    }))
}
