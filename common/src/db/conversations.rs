//! Reads conversations and updates the fields that routers set.

mod update;

pub use update::{Changes, update};

use super::{Db, DbError, Row, Type};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// A stored conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Its id.
    pub id: Uuid,
    /// The other party: an E.164 number, a short code or an alphanumeric sender.
    pub phone_number_canonical: String,
    /// The first received spelling of the number.
    pub phone_number_original: String,
    /// The tenant, if known.
    pub tenant_id: Option<String>,
    /// The tenants of the number, if there are several.
    pub tenant_candidates: Option<Value>,
    /// The workflow that a router set.
    pub workflow_type: Option<String>,
    /// The instance of the workflow.
    pub workflow_id: Option<String>,
    /// The status that a router set.
    pub conversation_status: String,
    /// The recipient's time zone, if a router set it.
    pub time_zone: Option<String>,
    /// `en`, `es`, `pt` or `unknown`.
    pub language_detected: String,
    /// The confidence, 0 to 1.
    pub language_confidence: f64,
    /// When the number opted out, if it did.
    pub opted_out_at: Option<Timestamp>,
    /// Since when the carrier blocks the number, if it does.
    pub carrier_blocked_at: Option<Timestamp>,
    /// When its latest message was received or requested.
    pub last_message_at: Option<Timestamp>,
    /// The number of messages.
    pub message_count: i64,
}

/// A message on a page of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct PageMessage {
    /// Its id.
    pub id: Uuid,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Its sender.
    pub from_number: Option<String>,
    /// Its recipient.
    pub to_number: String,
    /// Its text.
    pub message_content: String,
    /// References to its media: `[{url, content_type}]`.
    pub media: Value,
    /// Twilio's message SID, once it is known.
    pub twilio_sid: Option<String>,
    /// Its status.
    pub delivery_status: String,
    /// The error code.
    pub error_code: Option<String>,
    /// `en`, `es`, `pt` or `unknown`.
    pub language: String,
    /// The confidence, 0 to 1.
    pub language_confidence: f64,
    /// `opt_out`, `unsure` or `none` for inbound messages.
    pub opt_out: Option<String>,
    /// When it was received or requested.
    pub created_at: Timestamp,
}

/// The start of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// After this number of messages. The cost grows with it.
    Offset(i64),
    /// After a message. The cost is constant.
    After(Timestamp, Uuid),
}

/// One round trip for both: the conversation is in every row, which costs less than a second query.
pub(crate) const PAGE: &str = "select * from sms_conversation_page($1, $2, $3, $4, $5, $6)";

/// Finds a conversation by the first known variant of its number, with a page of messages, newest first.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn page(
    db: &Db,
    account_sid: &str,
    variants: &[String],
    start: PageStart,
    limit: i64,
) -> Result<Option<(Conversation, Vec<PageMessage>)>, DbError> {
    let (before, before_id, offset) = match start {
        PageStart::Offset(offset) => (None, None, offset),
        PageStart::After(at, id) => (Some(at), Some(id), 0),
    };
    let rows = db
        .query_idempotent(
            "read a conversation",
            PAGE,
            &[
                (&account_sid, Type::TEXT),
                (&variants, Type::TEXT_ARRAY),
                (&before, Type::TIMESTAMPTZ),
                (&before_id, Type::UUID),
                (&offset, Type::INT8),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let conversation = Conversation {
        id: first.get(0),
        phone_number_canonical: first.get(1),
        phone_number_original: first.get(2),
        tenant_id: first.get(3),
        tenant_candidates: first.get(23),
        workflow_type: first.get(4),
        workflow_id: first.get(5),
        conversation_status: first.get(25),
        time_zone: first.get(26),
        language_detected: first.get(6),
        language_confidence: first.get(7),
        opted_out_at: first.get(8),
        carrier_blocked_at: first.get(24),
        last_message_at: first.get(9),
        message_count: first.get(10),
    };
    // A conversation without messages on this page has one row with a null message.
    let messages = rows.iter().filter(|row| row.get::<_, Option<Uuid>>(11).is_some()).map(message);
    Ok(Some((conversation, messages.collect())))
}

fn message(row: &Row) -> PageMessage {
    PageMessage {
        id: row.get(11),
        direction: row.get(12),
        from_number: row.get(13),
        to_number: row.get(14),
        message_content: row.get(15),
        media: row.get(16),
        twilio_sid: row.get(17),
        delivery_status: row.get(18),
        error_code: row.get(19),
        language: row.get(20),
        language_confidence: row.get(21),
        created_at: row.get(22),
        opt_out: row.get(27),
    }
}

const NUMBER: &str =
    "select phone_number_canonical from sms_conversations where id = $1 and account_sid = $2";

/// Returns the number of a conversation.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn number(db: &Db, account_sid: &str, id: Uuid) -> Result<Option<String>, DbError> {
    let rows = db
        .query_idempotent("look a conversation up", NUMBER, &[(&id, Type::UUID), (&account_sid, Type::TEXT)])
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

pub(crate) const HAS_WRITTEN: &str = "
select exists (
    select from sms_conversations c join sms_messages m on m.conversation_id = c.id
    where c.account_sid = $1 and c.phone_number_canonical = $2 and m.direction = 'inbound')";

/// Tells whether a number has sent us a message.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn has_written(db: &Db, account_sid: &str, number: &str) -> Result<bool, DbError> {
    let params = [(&account_sid as _, Type::TEXT), (&number as _, Type::TEXT)];
    let rows = db.query_idempotent("look up whether a number has written", HAS_WRITTEN, &params).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}
