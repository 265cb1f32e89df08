//! Batches: their messages, which one transaction stores per request, their state and their progress.

use super::conversations::LastSender;
use super::sends::{IDEMPOTENCY_TTL, Idempotency, NewSend};
use super::{Db, DbError, Held, Json, Statement, params, row, statements};
use crate::domain::batch::{BatchAction, BatchStatus};
use crate::domain::event::EventType;
use crate::domain::ids::{BatchId, ConversationId, MessageId};
use crate::domain::language::Language;
use crate::domain::message::{Priority, Purpose, Status};
use crate::domain::metadata::Metadata;
use crate::domain::opt_out::ConsentScope;
use crate::domain::phone::E164;
use crate::domain::rate_limit::RECIPIENT_WINDOW;
use crate::domain::segments::Encoding;
use crate::domain::sids::AccountSid;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// How many messages a step of a cancellation or a resumption reads.
const STEP: i32 = 1_000;

row! {
    /// What is known about a recipient who has a conversation.
    #[derive(Debug, Clone, PartialEq)]
    pub struct KnownRecipient {
        /// The number.
        pub number: String,
        /// The conversation.
        pub conversation_id: ConversationId,
        /// Whether it has opted out of all messages.
        pub opted_out: bool,
        /// What it has opted out of otherwise.
        pub opted_out_scopes: Vec<String>,
        /// The workflow of the conversation.
        pub workflow_type: Option<String>,
        /// Whether its carrier deactivated it.
        pub deactivated: bool,
        /// Whether it has sent us a message. False for numbers that were not asked about.
        pub has_written: bool,
        /// The time zone, if it is known better than by the number.
        pub time_zone: Option<String>,
        /// The language of the conversation.
        pub language: Language = "language_detected",
        /// The language of the tenant's profile.
        pub tenant_language: Option<Language> = "language_preference",
        /// Our number in the latest message.
        pub our_number: Option<String>,
        /// The messaging service of the latest message.
        pub messaging_service_sid: Option<String>,
        /// How many messages to it were requested in the last 24 hours, at most the limit; 0 without a limit.
        pub recent_messages: i64,
    }
}

impl KnownRecipient {
    /// Returns whether it has opted out of a message. A message without a workflow belongs to that of the conversation.
    #[must_use]
    pub fn refuses(&self, workflow_type: Option<&str>, purpose: Purpose) -> bool {
        let workflow_type = workflow_type.or(self.workflow_type.as_deref());
        self.opted_out || ConsentScope::any_contains(&self.opted_out_scopes, workflow_type, purpose)
    }

    /// Returns our side of the latest message.
    #[must_use]
    pub fn last_sender(&self) -> LastSender {
        LastSender {
            our_number: self.our_number.clone(),
            messaging_service_sid: self.messaging_service_sid.clone(),
        }
    }
}

const RECIPIENTS: Statement<KnownRecipient> = Statement::new(
    "look up recipients",
    "
select n.number, c.id as conversation_id, c.opted_out_at is not null as opted_out, c.opted_out_scopes, c.workflow_type,
    c.deactivated_at is not null as deactivated, c.time_zone, c.language_detected, t.language_preference, l.our_number,
    l.messaging_service_sid, r.recent_messages,
    n.is_unlisted and exists (
        select from sms_messages m where m.conversation_id = c.id and m.direction = 'inbound') as has_written
from unnest($numbers::text[], $unlisted::bool[]) as n (number, is_unlisted)
join sms_conversations c on c.account_sid = $account_sid and c.phone_number_canonical = n.number
left join sms_tenants t on t.tenant_id = c.tenant_id
left join lateral (
    select case m.direction when 'inbound' then m.to_number else m.from_number end as our_number,
        m.messaging_service_sid
    from sms_messages m where m.conversation_id = c.id order by m.created_at desc, m.id desc limit 1
) l on true
cross join lateral (
    select count(*) as recent_messages from (
        select from sms_messages m
        where m.conversation_id = c.id and m.created_at > $since and m.direction = 'outbound' and m.in_reply_to is null
        limit $recipient_limit) m
) r",
);

/// Returns what is known about numbers that have a conversation. For those that the numbering plan does not list, also
/// whether they have sent us a message. With a limit of messages to one recipient, also how many were requested.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn recipients(
    db: &Db,
    account_sid: &AccountSid,
    numbers: &[(&E164, bool)],
    limit: Option<u32>,
    now: Timestamp,
) -> Result<Vec<KnownRecipient>, DbError> {
    let params = params! {
        account_sid,
        since: now - RECIPIENT_WINDOW,
        // Without a limit, no message is read.
        recipient_limit: limit.map_or(0, i64::from),
        numbers: numbers.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        unlisted: numbers.iter().map(|(_, is_unlisted)| *is_unlisted).collect::<Vec<_>>(),
    };
    db.query_idempotent(&RECIPIENTS, &params).await
}

/// A bulk request to store.
#[derive(Debug, Clone)]
pub struct NewBulk<'a> {
    /// The batch that gets the messages.
    pub batch_id: BatchId,
    /// The Twilio account.
    pub account_sid: &'a AccountSid,
    /// The messages, with the language of those whose text was chosen by language.
    pub messages: &'a [(NewSend, Option<Language>)],
    /// The API key.
    pub api_key_id: Uuid,
    /// The id of the request.
    pub request_id: &'a str,
    /// The trace that its sends continue.
    pub trace_context: Option<&'a str>,
    /// The current time.
    pub created_at: Timestamp,
}

/// A message in the JSON that `sms_bulk_messages` reads.
#[derive(Debug, Serialize)]
struct BulkMessage<'a> {
    place: usize,
    id: MessageId,
    new_conversation: ConversationId,
    recipient: &'a str,
    recipient_original: &'a str,
    sender_number: Option<&'a str>,
    service_sid: Option<&'a str>,
    replaced: Option<&'a str>,
    content: &'a str,
    media: &'a Value,
    encoding: Encoding,
    segments: i32,
    priority: Priority,
    purpose: Purpose,
    workflow_type: Option<&'a str>,
    workflow_id: Option<&'a str>,
    metadata: Option<&'a Metadata>,
    send_at: Option<Timestamp>,
    send_before: Option<Timestamp>,
    language: Language,
    language_confidence: f64,
}

impl<'a> BulkMessage<'a> {
    fn new(place: usize, send: &'a NewSend, language: Option<Language>) -> Self {
        Self {
            place,
            id: send.id,
            new_conversation: send.conversation_id,
            recipient: send.to.as_str(),
            recipient_original: &send.to_original,
            sender_number: send.sender.number(),
            service_sid: send.sender.messaging_service_sid(),
            replaced: send.replaced_from.as_ref().map(|sender| sender.as_str()),
            content: &send.message_content,
            media: &send.media,
            encoding: send.encoding,
            segments: send.segments,
            priority: send.priority,
            purpose: send.purpose,
            workflow_type: send.workflow_type.as_deref(),
            workflow_id: send.workflow_id.as_deref(),
            metadata: send.metadata.as_ref(),
            send_at: send.send_at,
            send_before: send.send_before,
            language: language.unwrap_or(Language::Unknown),
            // Chosen, not detected.
            language_confidence: if language.is_some() { 1.0 } else { 0.0 },
        }
    }
}

row! {
    struct Placed {
        /// Null if the idempotency key was used before.
        place: Option<i32>,
        /// Null if the recipient has opted out.
        conversation_id: Option<ConversationId>,
    }
}

/// Its steps are described in `migrations/functions/sms_create_bulk.sql`.
const CREATE: Statement<Placed> = Statement::new(
    "store a bulk request",
    "
select place, conversation_id
from sms_create_bulk(
    batch => $batch_id, account => $account_sid, messages => $messages, by_key => $api_key_id,
    by_request => $request_id, trace => $trace_context, now_at => $created_at, once_key => $idempotency_key,
    once_hash => $payload_hash, forgotten_before => $forgotten_before)",
);

const KEEP_RESPONSE: Statement<()> = Statement::new(
    "store the response of a bulk request",
    "
update idempotency_keys set response = $response
where api_key_id = $api_key_id and idempotency_key = $idempotency_key",
);

/// A request that is stored when it is confirmed with its response.
#[derive(Debug)]
pub struct Unconfirmed {
    /// The conversation of each message, in order. `None`: the recipient has opted out, and it was not stored.
    pub conversations: Vec<Option<ConversationId>>,
    held: Held,
}

/// Stores a bulk request, once per Idempotency-Key. Returns `None` if the key was used before.
///
/// # Errors
///
/// [`DbError`]: nothing was stored.
pub async fn create(
    db: &Db,
    bulk: &NewBulk<'_>,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Unconfirmed>, DbError> {
    let messages: Vec<BulkMessage<'_>> = (0..)
        .zip(bulk.messages)
        .map(|(place, (send, language))| BulkMessage::new(place, send, *language))
        .collect();
    let params = params! {
        batch_id: bulk.batch_id,
        account_sid: bulk.account_sid,
        messages: Json(messages),
        api_key_id: bulk.api_key_id,
        request_id: bulk.request_id,
        trace_context: bulk.trace_context,
        created_at: bulk.created_at,
        idempotency_key: idempotency.map(|i| i.key.as_str()),
        payload_hash: idempotency.map(|i| i.payload_hash.as_slice()),
        forgotten_before: bulk.created_at - IDEMPOTENCY_TTL,
    };
    let (rows, held) = db.query_held(&CREATE, &params).await?;
    if rows.iter().any(|row| row.place.is_none()) {
        held.release().await;
        return Ok(None);
    }
    let mut conversations = vec![None; bulk.messages.len()];
    for row in rows {
        let place = row.place.and_then(|place| usize::try_from(place).ok());
        if let Some(found) = place.and_then(|place| conversations.get_mut(place)) {
            *found = row.conversation_id;
        }
    }
    Ok(Some(Unconfirmed { conversations, held }))
}

impl Unconfirmed {
    /// Commits the request, and stores its response under its idempotency key.
    ///
    /// # Errors
    ///
    /// [`DbError`]: the request may be stored if the connection failed during the commit. Return an error; a retry with
    /// the same Idempotency-Key is safe.
    pub async fn confirm(
        self,
        db: &Db,
        api_key_id: Uuid,
        idempotency: Option<&Idempotency>,
        response: &str,
    ) -> Result<(), DbError> {
        let params = params! {
            api_key_id,
            idempotency_key: idempotency.map(|i| i.key.as_str()),
            response,
        };
        self.held.query_and_commit(db, &KEEP_RESPONSE, &params).await.map(drop)
    }
}

row! {
    struct FirstRequest {
        payload_hash: Vec<u8>,
        response: Option<String>,
    }
}

const REPEATED: Statement<FirstRequest> = Statement::new(
    "look up the response of a bulk request",
    "
select payload_hash, response from idempotency_keys
where api_key_id = $api_key_id and idempotency_key = $idempotency_key and created_at >= $remembered_since",
);

/// The earlier use of an Idempotency-Key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedBulk {
    /// Whether the payload is the same.
    pub same_payload: bool,
    /// The response. `None` if another endpoint used the key.
    pub response: Option<String>,
}

/// Returns the earlier use of an Idempotency-Key, if it is still remembered.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn repeated(
    db: &Db,
    api_key_id: Uuid,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Option<RepeatedBulk>, DbError> {
    let params = params! {
        api_key_id,
        idempotency_key: idempotency.key,
        remembered_since: now - IDEMPOTENCY_TTL,
    };
    let rows = db.query_idempotent(&REPEATED, &params).await?;
    Ok(rows.into_iter().next().map(|first| RepeatedBulk {
        same_payload: first.payload_hash == idempotency.payload_hash,
        response: first.response,
    }))
}

row! {
    /// The progress of a batch.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Batch {
        /// Its id.
        pub id: BatchId,
        /// Its status.
        pub status: BatchStatus,
        /// The number of accepted messages.
        pub total: i32,
        /// The number of their segments.
        pub segments: i64,
        /// The number of messages by status.
        pub by_status: Value,
    }
}

const FIND: Statement<Batch> = Statement::new(
    "find a batch",
    "
select b.id, b.total, b.segments,
    case when b.completed_at is not null and b.state <> 'cancelled' then 'completed' else b.state end as status,
    (select coalesce(jsonb_object_agg(c.status, c.messages), '{}') from sms_batch_counts c
     where c.batch_id = b.id and c.messages > 0) as by_status
from sms_batches b where b.id = $id",
);

/// Returns the progress of a batch, at the same cost for any number of messages.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find(db: &Db, id: BatchId) -> Result<Option<Batch>, DbError> {
    Ok(db.query_idempotent(&FIND, &params! { id }).await?.into_iter().next())
}

row! {
    struct Changed {
        is_changed: bool,
        state: BatchStatus,
        is_completed: bool,
    }
}

const CHANGE: Statement<Changed> = Statement::new(
    "change the state of a batch",
    "
with held as (
    select b.id, b.state, b.completed_at is not null as is_completed from sms_batches b where b.id = $id
    for no key update
), changed as (
    update sms_batches b set state = $state, resumed_at = case when $state = 'running' then $now::timestamptz end
    from held h
    where b.id = h.id and h.state not in ('cancelled', $state) and not h.is_completed
    returning b.id
)
select exists (select from changed) as is_changed, h.state, h.is_completed from held h",
);

/// The result of an action on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchChange {
    /// The batch has the state that the action wants.
    Done,
    /// There is no such batch.
    NotFound,
    /// The batch has ended with this status.
    Ended(BatchStatus),
}

/// Changes the state of a batch. From its commit on, no message of a paused or cancelled batch passes the gate.
///
/// # Errors
///
/// [`DbError`]: the state may be changed if the connection failed during the commit. A retry is safe.
pub async fn change(
    db: &Db,
    id: BatchId,
    action: BatchAction,
    now: Timestamp,
) -> Result<BatchChange, DbError> {
    let state = action.target();
    let rows = db.query_confirmed(&CHANGE, &params! { id, state, now }).await?;
    Ok(match rows.first() {
        None => BatchChange::NotFound,
        Some(row) if row.is_changed => BatchChange::Done,
        Some(row) if row.state == BatchStatus::Cancelled && state != BatchStatus::Cancelled => {
            BatchChange::Ended(BatchStatus::Cancelled)
        }
        Some(row) if row.is_completed && row.state != BatchStatus::Cancelled => {
            BatchChange::Ended(BatchStatus::Completed)
        }
        Some(_) => BatchChange::Done,
    })
}

row! {
    /// A step through the messages of a batch.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Step {
        /// The number of changed messages.
        pub changed: i32,
        /// Where the next step begins. `None` at the end.
        pub last_id: Option<MessageId>,
    }
}

const CANCEL: Statement<Step> = Statement::new(
    "cancel messages of a batch",
    "
select canceled as changed, last_id from sms_cancel_in_batch(
    batch => $id, after => $after, max_number => $step, at => $now, status_event => $status_event,
    failed_event => $failed_event)",
);

const RESUME: Statement<Step> = Statement::new(
    "resume messages of a batch",
    "
select resumed as changed, last_id from sms_resume_in_batch(
    batch => $id, after => $after, max_number => $step, at => $now)",
);

/// Cancels waiting messages of a cancelled batch, from the given message on.
///
/// # Errors
///
/// [`DbError`]: the sweep cancels them.
pub async fn cancel_step(
    db: &Db,
    id: BatchId,
    after: Option<MessageId>,
    now: Timestamp,
) -> Result<Step, DbError> {
    let params = params! {
        id,
        after: after.unwrap_or(Uuid::nil().into()),
        step: STEP,
        now,
        status_event: EventType::MessageStatus,
        failed_event: EventType::MessageFailed,
    };
    step(db, &CANCEL, &params).await
}

/// Makes messages of a resumed batch due again, from the given message on.
///
/// # Errors
///
/// [`DbError`]: repeating the resumption continues it.
pub async fn resume_step(
    db: &Db,
    id: BatchId,
    after: Option<MessageId>,
    now: Timestamp,
) -> Result<Step, DbError> {
    let params = params! { id, after: after.unwrap_or(Uuid::nil().into()), step: STEP, now };
    step(db, &RESUME, &params).await
}

async fn step(db: &Db, statement: &Statement<Step>, params: &[super::Param<'_>]) -> Result<Step, DbError> {
    let rows = db.query(statement, params).await?;
    Ok(rows.into_iter().next().unwrap_or(Step { changed: 0, last_id: None }))
}

const RESUMED: Statement<()> = Statement::new(
    "end the resumption of a batch",
    "update sms_batches set resumed_at = null where id = $id and resumed_at <= $now",
);

/// Records that all messages of a resumed batch are due again.
///
/// # Errors
///
/// [`DbError`]: the sweep goes through the batch again.
pub async fn resumed(db: &Db, id: BatchId, now: Timestamp) -> Result<(), DbError> {
    db.query_idempotent(&RESUMED, &params! { id, now }).await.map(drop)
}

row! {
    /// A batch whose messages must still be changed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Unfinished {
        /// The batch.
        pub id: BatchId,
        /// Its state: cancelled, or running after a resumption.
        pub state: BatchStatus,
    }
}

const UNFINISHED: Statement<Unfinished> = Statement::new(
    "find cancelled and resumed batches",
    "
select b.id, b.state from sms_batches b
where b.completed_at is null and (b.state = 'running' and b.resumed_at is not null
    or b.state = 'cancelled' and exists (
        select from sms_batch_counts c where c.batch_id = b.id and c.status = 'pending' and c.messages > 0))
order by b.changed_at limit $limit",
);

/// Returns cancelled batches with pending messages, and resumed ones whose messages may not be due again.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn unfinished(db: &Db, limit: i64) -> Result<Vec<Unfinished>, DbError> {
    db.query_idempotent(&UNFINISHED, &params! { limit }).await
}

row! {
    struct Completed {
        completed: i64,
    }
}

const COMPLETE: Statement<Completed> = Statement::new(
    "complete batches",
    "
select sms_complete_batches(array(
    select b.id from sms_batches b
    where b.completed_at is null and b.changed_at <= $changed_before and not exists (
        select from sms_batch_counts c
        where c.batch_id = b.id and c.messages > 0 and c.status in ('pending', 'unknown'))
    order by b.changed_at limit $limit
    for no key update skip locked), $now, $settled) as completed",
);

/// Completes batches whose messages were all handed over, and whose last status came before the given time: some
/// carriers report no delivery. Returns how many.
///
/// # Errors
///
/// [`DbError`]: the next run completes them.
pub async fn complete(
    db: &Db,
    changed_before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<usize, DbError> {
    let settled = [Status::Queued, Status::Sending, Status::Sent];
    let rows =
        db.query(&COMPLETE, &params! { changed_before, limit, now, settled: settled.as_slice() }).await?;
    Ok(rows.first().map_or(0, |row| usize::try_from(row.completed).unwrap_or_default()))
}

statements!(
    RECIPIENTS,
    CREATE,
    KEEP_RESPONSE,
    REPEATED,
    FIND,
    CHANGE,
    CANCEL,
    RESUME,
    RESUMED,
    UNFINISHED,
    COMPLETE
);
