//! Reads conversations and updates the fields that routers set.

mod list;
mod update;

pub use list::{Filter, Position, list};
pub use update::{Changes, update};

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::keywords::OptOut;
use crate::domain::language::Language;
use crate::domain::message::{Direction, Status};
use crate::domain::phone::{E164, InboundSender};
use crate::domain::sids::{AccountSid, MessageSid};
use jiff::Timestamp;
use list::LIST;
use serde_json::Value;
use update::UPDATE;

row! {
    /// A stored conversation.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Conversation {
        /// Its id.
        pub id: ConversationId = "conversation_id",
        /// The other party.
        pub phone_number_canonical: InboundSender,
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
        /// The detected language.
        pub language_detected: Language,
        /// The confidence, 0 to 1.
        pub language_confidence: f64 = "conversation_language_confidence",
        /// When the number opted out, if it did.
        pub opted_out_at: Option<Timestamp>,
        /// Since when the carrier blocks the number, if it does.
        pub carrier_blocked_at: Option<Timestamp>,
        /// The day on which its carrier deactivated the number, while messages to it are refused because of that.
        pub deactivated_at: Option<Timestamp>,
        /// When its latest message was received or requested.
        pub last_message_at: Option<Timestamp>,
        /// The number of messages.
        pub message_count: i64,
    }
}

row! {
    /// A message on a page of a conversation.
    #[derive(Debug, Clone, PartialEq)]
    pub struct PageMessage {
        /// Its id.
        pub id: MessageId,
        /// Its direction.
        pub direction: Direction,
        /// Its sender.
        pub from_number: Option<String>,
        /// Its recipient.
        pub to_number: String,
        /// Its text.
        pub message_content: String,
        /// Its files, as in [`MessageDetails`](super::messages::MessageDetails).
        pub media: Value,
        /// Twilio's message SID, once it is known.
        pub twilio_sid: Option<MessageSid>,
        /// Its status.
        pub delivery_status: Status,
        /// The error code.
        pub error_code: Option<String>,
        /// The detected language.
        pub language: Language,
        /// The confidence, 0 to 1.
        pub language_confidence: f64,
        /// Whether an inbound message is an opt-out.
        pub opt_out: Option<OptOut>,
        /// When it was received or requested.
        pub created_at: Timestamp,
    }
}

/// The start of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// After this number of messages. The cost grows with it.
    Offset(i64),
    /// After a message. The cost is constant.
    After(Timestamp, MessageId),
}

/// One round trip for both: the conversation is in every row, which costs less than a second query. If the page has no
/// message, there is one row without a message.
const PAGE: Statement<(Conversation, Option<PageMessage>)> = Statement::new(
    "read a conversation",
    "
select * from sms_conversation_page_2(account => $account_sid, numbers => $variants, before => $before,
    before_id => $before_id, skip => $offset, take => $limit)",
);

/// Finds a conversation by the first known variant of its number, with a page of messages, newest first.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn page(
    db: &Db,
    account_sid: &AccountSid,
    variants: &[String],
    start: PageStart,
    limit: i64,
) -> Result<Option<(Conversation, Vec<PageMessage>)>, DbError> {
    let (before, before_id, offset) = match start {
        PageStart::Offset(offset) => (None, None, offset),
        PageStart::After(at, id) => (Some(at), Some(id), 0),
    };
    let params = params! { account_sid, variants, before, before_id, offset, limit };
    db.query_joined(&PAGE, &params).await
}

row! {
    struct Number {
        phone_number_canonical: InboundSender,
    }
}

const NUMBER: Statement<Number> = Statement::new(
    "look up a conversation",
    "select phone_number_canonical from sms_conversations where id = $id and account_sid = $account_sid",
);

/// Returns the number of a conversation.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn number(
    db: &Db,
    account_sid: &AccountSid,
    id: ConversationId,
) -> Result<Option<InboundSender>, DbError> {
    let rows = db.query_idempotent(&NUMBER, &params! { id, account_sid }).await?;
    Ok(rows.into_iter().next().map(|row| row.phone_number_canonical))
}

row! {
    struct HasWritten {
        has_written: bool,
    }
}

const HAS_WRITTEN: Statement<HasWritten> = Statement::new(
    "check for inbound messages of a number",
    "
select exists (
    select from sms_conversations c join sms_messages m on m.conversation_id = c.id
    where c.account_sid = $account_sid and c.phone_number_canonical = $number and m.direction = 'inbound'
) as has_written",
);

/// Returns whether a number has sent us a message.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn has_written(db: &Db, account_sid: &AccountSid, number: &E164) -> Result<bool, DbError> {
    let rows = db.query_idempotent(&HAS_WRITTEN, &params! { account_sid, number }).await?;
    Ok(rows.first().is_some_and(|row| row.has_written))
}

row! {
    /// Our side of the latest message of a conversation; empty if it has none.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LastSender {
        /// Our number; `None` if a messaging service chose it.
        pub our_number: Option<String>,
        /// The messaging service, if the message came or went through one.
        pub messaging_service_sid: Option<String>,
    }
}

row! {
    /// Whether messages to a number that has a conversation are refused.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Refused {
        /// Because its carrier deactivated it. False if it has opted out, which is the more important reason.
        pub is_deactivated: bool,
    }
}

const RECIPIENT: Statement<(Refused, LastSender)> = Statement::new(
    "look up a recipient",
    "
select c.deactivated_at is not null and c.opted_out_at is null as is_deactivated,
    case m.direction when 'inbound' then m.to_number else m.from_number end as our_number, m.messaging_service_sid
from sms_conversations c left join lateral (
    select * from sms_messages m where m.conversation_id = c.id order by m.created_at desc, m.id desc limit 1
) m on true
where c.account_sid = $account_sid and c.phone_number_canonical = $number",
);

/// Returns what must be known about a recipient that has a conversation, before a message to it is stored.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn recipient(
    db: &Db,
    account_sid: &AccountSid,
    number: &E164,
) -> Result<Option<(Refused, LastSender)>, DbError> {
    let rows = db.query_idempotent(&RECIPIENT, &params! { account_sid, number }).await?;
    Ok(rows.into_iter().next())
}

statements!(PAGE, NUMBER, HAS_WRITTEN, RECIPIENT, LIST, UPDATE);
