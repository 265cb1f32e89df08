//! Erases the content of a conversation: texts, files, raw webhooks and metadata.
//!
//! [`begin`] marks the conversation, [`erase`] goes through its messages in batches, and [`finish`] completes the
//! audit. A request that ends in between leaves no harm: the next one erases the rest.

use super::{Db, DbError, Json, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::phone::InboundSender;
use crate::domain::sids::AccountSid;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A request to erase.
#[derive(Debug, Clone, Copy)]
pub struct NewErasure<'a> {
    /// Its id in the audit.
    pub id: Uuid,
    /// The Twilio account.
    pub account_sid: &'a AccountSid,
    /// The forms in which the number may be stored, in lookup order.
    pub variants: &'a [String],
    /// The API key.
    pub api_key_id: Uuid,
    /// The id of the request.
    pub request_id: &'a str,
    /// The current time.
    pub requested_at: Timestamp,
}

row! {
    /// The conversation of an erasure.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Begun {
        /// The conversation.
        pub conversation_id: ConversationId,
        /// The number.
        pub phone_number_canonical: InboundSender,
        /// The first received spelling of the number.
        pub phone_number_original: String,
    }
}

impl Begun {
    /// Returns the spellings of the number.
    #[must_use]
    pub fn spellings(&self) -> Vec<&str> {
        vec![self.phone_number_canonical.canonical(), &self.phone_number_original]
    }
}

/// Its steps are described in `migrations/functions/sms_begin_erasure.sql`.
const BEGIN: Statement<Begun> = Statement::new(
    "begin an erasure",
    "
select conversation_id, phone_number_canonical, phone_number_original
from sms_begin_erasure(account => $account_sid, numbers => $variants, erasure => $id, by_key => $api_key_id,
    by_request => $request_id, at => $requested_at)",
);

/// Begins an erasure. Returns its conversation, found by the first known variant of the number.
///
/// # Errors
///
/// [`DbError`]: repeat the request.
pub async fn begin(db: &Db, erasure: &NewErasure<'_>) -> Result<Option<Begun>, DbError> {
    let NewErasure { id, account_sid, variants, api_key_id, request_id, requested_at } = erasure;
    let params = params! { id, account_sid, variants, api_key_id, request_id, requested_at };
    Ok(db.query_idempotent(&BEGIN, &params).await?.into_iter().next())
}

/// The last message of a batch, where the next one begins.
pub type Last = (Timestamp, MessageId);

row! {
    struct Batch {
        last_at: Option<Timestamp>,
        last_id: Option<MessageId>,
    }
}

/// Its steps are described in `migrations/functions/sms_erase_messages.sql`.
const ERASE: Statement<Batch> = Statement::new(
    "erase messages",
    "
select last_at, last_id
from sms_erase_messages(erasure => $id, after_at => coalesce($after, '-infinity'::timestamptz),
    after_id => coalesce($after_id, '00000000-0000-0000-0000-000000000000'::uuid), max_number => $limit,
    status_event => $status_event, failed_event => $failed_event)",
);

/// Erases the next messages, at most `limit`. Returns the last one, or `None` if there are no more.
///
/// # Errors
///
/// [`DbError`]: repeat the request.
pub async fn erase(db: &Db, id: Uuid, after: Option<Last>, limit: i32) -> Result<Option<Last>, DbError> {
    let (after, after_id) = after.unzip();
    let (status_event, failed_event) = (EventType::MessageStatus, EventType::MessageFailed);
    let params = params! { id, after, after_id, limit, status_event, failed_event };
    let rows = db.query_idempotent(&ERASE, &params).await?;
    Ok(rows.first().and_then(|batch| batch.last_at.zip(batch.last_id)))
}

/// The number of rows that a request erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ErasedCounts {
    /// Messages whose text, media references, metadata and workflow were erased.
    pub messages: i64,
    /// Of these, messages that were canceled because they were not passed to Twilio yet.
    pub canceled: i64,
    /// Of these, messages that may be at Twilio. Each is emptied when its outcome is known.
    pub in_flight: i64,
    /// Files of inbound messages. Their copies are deleted within minutes.
    pub media: i64,
    /// Raw webhooks of inbound messages.
    pub webhooks: i64,
    /// Raw status callbacks.
    pub status_callbacks: i64,
    /// Texts of opt-outs and opt-ins. The opt-outs stay.
    pub opt_out_texts: i64,
    /// Webhooks that were not stored as messages yet. They are stored without content.
    pub waiting_webhooks: i64,
    /// Rows that were listed for deletion from the archive.
    pub archived_rows: i64,
}

row! {
    struct Finished {
        counts: Json<ErasedCounts>,
        remaining: i64,
    }
}

const FINISH: Statement<Finished> = Statement::new(
    "complete an erasure",
    "
with remaining as (
    select count(*) as messages from sms_erasures e join sms_messages m on m.conversation_id = e.conversation_id
    where e.id = $id and not $is_complete and m.created_at <= e.up_to and m.erased_at is null
)
update sms_erasures e
set counts = e.counts || jsonb_build_object('waiting_webhooks', $waiting_webhooks::bigint),
    completed_at = case when remaining.messages = 0 then $now::timestamptz end
from remaining where e.id = $id
returning e.counts, remaining.messages as remaining",
);

/// Completes the audit of an erasure. Returns the counts and the number of messages that remain.
///
/// # Errors
///
/// [`DbError`]: the erasure has taken effect, and its audit lacks the end.
pub async fn finish(
    db: &Db,
    id: Uuid,
    waiting_webhooks: i64,
    is_complete: bool,
    now: Timestamp,
) -> Result<(ErasedCounts, i64), DbError> {
    let rows = db.query_idempotent(&FINISH, &params! { id, waiting_webhooks, is_complete, now }).await?;
    Ok(rows.into_iter().next().map(|row| (row.counts.0, row.remaining)).unwrap_or_default())
}

statements!(BEGIN, ERASE, FINISH);
