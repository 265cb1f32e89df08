//! Sends: rows first, then a claim before each call to Twilio, then its outcome. One statement per change of state.

use super::statuses::replaced_by;
use super::{Db, DbError, Json, Row, Type};
use crate::domain::message::Status;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// How long an `Idempotency-Key` is remembered (SPEC §6).
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The error code of a message that was not sent because its recipient had opted out.
pub const OPTED_OUT: &str = "opted_out";
/// The error code of a message whose `send_before` passed, or that waited for the longest time allowed.
pub const RETRIES_EXHAUSTED: &str = "retries_exhausted";

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSend {
    /// The id it will have.
    pub id: Uuid,
    /// The id that its conversation will have, unless there is one.
    pub conversation_id: Uuid,
    /// Our Twilio account.
    pub account_sid: String,
    /// The recipient in E.164.
    pub to: String,
    /// The recipient as the caller wrote it.
    pub to_original: String,
    /// Our number; none when the messaging service chooses.
    pub from: Option<String>,
    /// The messaging service to send through, when there is no number.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// References to media: `[{url, content_type}]`.
    pub media: Value,
    /// `GSM-7` or `UCS-2`.
    pub encoding: &'static str,
    /// How many segments the text costs.
    pub segments: i32,
    /// `urgent`, `normal` or `bulk`.
    pub priority: &'static str,
    /// The workflow that asks, for its own use.
    pub workflow_type: Option<String>,
    /// That workflow's instance.
    pub workflow_id: Option<String>,
    /// Whatever the caller wants kept with it.
    pub metadata: Option<Value>,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// Not after.
    pub send_before: Option<Timestamp>,
    /// The key that asks.
    pub api_key_id: Uuid,
    /// The request that asks.
    pub request_id: String,
    /// Now.
    pub created_at: Timestamp,
}

/// The caller's promise that two requests are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of the payload.
    pub payload_hash: Vec<u8>,
}

/// What became of a request to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The message is stored.
    Stored {
        /// Its conversation.
        conversation_id: Uuid,
    },
    /// The recipient has opted out; nothing was stored.
    OptedOut,
    /// The key was used before.
    Repeated(Repeated),
}

/// What an Idempotency-Key was used for before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// Whether the payload is the same.
    pub same_payload: bool,
    /// The message that the first request made.
    pub message_id: Uuid,
}

/// The steps of the statement:
/// - `opted`: whether the recipient has opted out, as far as is committed: the claim before the call asks again;
/// - `key`: remembers the Idempotency-Key, or waits for the request that is just using it, and then adds nothing;
///   one that is older than its time is taken over;
/// - `go`: one row if there is anything to do; everything below hangs on it, and so runs after the key is ours;
/// - `existing`, `created`: the conversation, as for inbound messages;
/// - `stored`: the message.
pub(crate) const CREATE: &str = "
with opted as (
    select from sms_conversations
    where account_sid = $3 and phone_number_canonical = $4 and opted_out_at is not null
), key as (
    insert into idempotency_keys (api_key_id, idempotency_key, payload_hash, resource_id, created_at)
    select $18, $21::text, $22, $1, $20 where $21::text is not null and not exists (select from opted)
    on conflict (api_key_id, idempotency_key) do update
        set payload_hash = excluded.payload_hash, resource_id = excluded.resource_id,
            created_at = excluded.created_at
        where idempotency_keys.created_at < $23
    returning resource_id
), go as (
    select where not exists (select from opted) and ($21::text is null or exists (select from key))
), existing as (
    select c.id from sms_conversations c
    where c.account_sid = $3 and c.phone_number_canonical = $4 and exists (select from go)
    for no key update
), created as (
    insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
    select $2, $3, $4, $5, $20 from go where not exists (select from existing)
    on conflict (account_sid, phone_number_canonical)
        do update set phone_number_canonical = excluded.phone_number_canonical
    returning id
), stored as (
    insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
        message_content, media, delivery_status, encoding, segments, priority, workflow_type, workflow_id,
        metadata, api_key_id, request_id, send_at, send_before, next_attempt_at, enqueued_at, created_at)
    select $1, c.id, 'outbound', $6, $4, $7, $8, $9, 'pending', $10, $11, $12, $13, $14, $15, $18, $19, $16, $17,
        greatest($16, $20), case when $16 is null or $16 <= $20 then $20 end, $20
    from (select id from existing union all select id from created) c
    returning conversation_id
)
select exists (select from opted), (select conversation_id from stored)";

pub(crate) const REPEATED: &str = "
select payload_hash, resource_id from idempotency_keys
where api_key_id = $1 and idempotency_key = $2 and created_at >= $3";

/// Tells what was made for an Idempotency-Key before, if it is still remembered.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn repeated(
    db: &Db,
    api_key_id: Uuid,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Option<Repeated>, DbError> {
    let params = [
        (&api_key_id as _, Type::UUID),
        (&idempotency.key as _, Type::TEXT),
        (&(now - IDEMPOTENCY_TTL) as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query_idempotent("look an idempotency key up", REPEATED, &params).await?;
    Ok(rows.first().map(|row| Repeated {
        same_payload: row.get::<_, &[u8]>(0) == idempotency.payload_hash,
        message_id: row.get(1),
    }))
}

/// Stores a message to be sent, once for an Idempotency-Key. What its client was refused for Postgres's silence must not
/// be sent when Postgres wakes up, hence the confirmation.
///
/// # Errors
///
/// [`DbError`]: the message may be stored all the same when the connection broke at the very end, so the caller must answer with an
/// error and leave it to the client, whose Idempotency-Key makes a second try safe.
pub async fn create(db: &Db, send: &NewSend, idempotency: Option<&Idempotency>) -> Result<Created, DbError> {
    let key = idempotency.map(|i| i.key.as_str());
    let hash = idempotency.map(|i| i.payload_hash.as_slice());
    let expired = send.created_at - IDEMPOTENCY_TTL;
    let rows = db
        .query_confirmed(
            "store a message to send",
            CREATE,
            &[
                (&send.id, Type::UUID),
                (&send.conversation_id, Type::UUID),
                (&send.account_sid, Type::TEXT),
                (&send.to, Type::TEXT),
                (&send.to_original, Type::TEXT),
                (&send.from, Type::TEXT),
                (&send.messaging_service_sid, Type::TEXT),
                (&send.message_content, Type::TEXT),
                (&Json(&send.media), Type::JSONB),
                (&send.encoding, Type::TEXT),
                (&send.segments, Type::INT4),
                (&send.priority, Type::TEXT),
                (&send.workflow_type, Type::TEXT),
                (&send.workflow_id, Type::TEXT),
                (&send.metadata.as_ref().map(Json), Type::JSONB),
                (&send.send_at, Type::TIMESTAMPTZ),
                (&send.send_before, Type::TIMESTAMPTZ),
                (&send.api_key_id, Type::UUID),
                (&send.request_id, Type::TEXT),
                (&send.created_at, Type::TIMESTAMPTZ),
                (&key, Type::TEXT),
                (&hash, Type::BYTEA),
                (&expired, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    let (opted_out, conversation_id) = match rows.first() {
        Some(row) => (row.get::<_, bool>(0), row.get::<_, Option<Uuid>>(1)),
        None => (false, None),
    };
    if let Some(conversation_id) = conversation_id {
        return Ok(Created::Stored { conversation_id });
    }
    // A repeated request gets its first answer, even when the recipient has opted out since.
    if let Some(idempotency) = idempotency
        && let Some(repeated) = repeated(db, send.api_key_id, idempotency, send.created_at).await?
    {
        return Ok(Created::Repeated(repeated));
    }
    if opted_out {
        return Ok(Created::OptedOut);
    }
    Err(DbError::Decode {
        operation: "store a message to send",
        source: "neither a message nor a reason for none came back".into(),
    })
}

const NOT_ENQUEUED: &str = "update sms_messages set enqueued_at = null where id = any($1)";

/// Notes that messages could not be put on their queue, so that the next sweep does.
///
/// # Errors
///
/// [`DbError`]; the sweep then waits for the time after which it takes any queued message for lost.
pub async fn not_enqueued(db: &Db, ids: &[Uuid]) -> Result<(), DbError> {
    db.query_idempotent("note messages as not queued", NOT_ENQUEUED, &[(&ids, Type::UUID_ARRAY)])
        .await
        .map(drop)
}

/// A message that is ours to hand to Twilio, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The message.
    pub message_id: Uuid,
    /// The attempt that was written for it.
    pub attempt_id: Uuid,
    /// How many attempts there have been, this one included.
    pub attempt_number: i32,
    /// The recipient.
    pub to: String,
    /// The sender, if it is a number.
    pub from: Option<String>,
    /// The sender, if it is a messaging service.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// References to media.
    pub media_urls: Vec<String>,
    /// Not after.
    pub send_before: Option<Timestamp>,
    /// When it was to be sent first: its `send_at`, or else when it was asked for.
    pub wanted_at: Timestamp,
}

/// The steps of the statement:
/// - `input`: the messages asked for, each with the id that its attempt will have;
/// - `due`: those that are pending, due and held by nobody, locked together with their conversations: a STOP that is
///   being committed is waited for, and then seen; in the order of numbers, in which inbound batches lock too;
/// - `refused`: those whose recipient has opted out, or whose time has passed, which fail for good;
/// - `claimed`: the rest, which nobody else can claim from here on;
/// - `attempted`: a row for the call that follows, committed before it.
///
/// What it returns last are claims that an earlier run of the same call made and lost the answer of, known by the ids
/// of their attempts: so it may be run twice, and a connection that died leaves no message in nobody's hands.
pub(crate) const CLAIM: &str = "
with input as (
    select distinct on (message_id) * from unnest($1::uuid[], $2::uuid[]) as t (message_id, attempt_id)
    order by message_id
), due as (
    select m.id, c.opted_out_at is not null as opted_out,
           coalesce(m.send_before <= $3, false) as expired
    from sms_messages m join sms_conversations c on c.id = m.conversation_id
    where m.id in (select message_id from input) and m.direction = 'outbound'
      and m.delivery_status = 'pending' and m.twilio_sid is null and m.claimed_at is null
      and m.next_attempt_at <= $3
    order by c.account_sid, c.phone_number_canonical, m.id
    for no key update of m for share of c
), refused as (
    update sms_messages m
    set delivery_status = 'failed',
        error_code = case when due.opted_out then 'opted_out' else 'retries_exhausted' end
    from due
    where m.id = due.id and (due.opted_out or due.expired) and m.delivery_status = 'pending' and m.claimed_at is null
    returning m.id
), claimed as (
    update sms_messages m set claimed_at = $3
    from due
    where m.id = due.id and not due.opted_out and not due.expired
      and m.delivery_status = 'pending' and m.claimed_at is null
    returning m.id, m.to_number, m.from_number, m.messaging_service_sid, m.message_content, m.media, m.send_before,
        coalesce(m.send_at, m.created_at) as wanted_at
), attempted as (
    insert into sms_send_attempts (id, message_id, number, started_at)
    select i.attempt_id, c.id,
        1 + (select count(*) from sms_send_attempts a where a.message_id = c.id)::int, $3
    from claimed c join input i on i.message_id = c.id
    returning id, message_id, number
)
select c.id, a.id, a.number, c.to_number, c.from_number, c.messaging_service_sid, c.message_content, c.media,
    c.send_before, c.wanted_at
from claimed c join attempted a on a.message_id = c.id
union all
select r.id, null, 0, '', null, null, '', '[]', null, $3 from refused r
union all
select m.id, a.id, a.number, m.to_number, m.from_number, m.messaging_service_sid, m.message_content, m.media,
    m.send_before, coalesce(m.send_at, m.created_at)
from sms_send_attempts a join sms_messages m on m.id = a.message_id
where a.id = any($2) and a.outcome is null and m.claimed_at = $3 and m.delivery_status = 'pending'";

/// Claims messages, and refuses those that must not be sent any more. Returns the claims and the ids of the refused.
///
/// A message that is not pending, not due yet, or claimed by somebody else is in neither: there is nothing to do.
/// Attempts are written with the claim, so that a function that dies afterwards leaves its traces.
///
/// # Errors
///
/// [`DbError`]: none was claimed, or, when the connection broke twice, some are held by nobody: the sweep finds those.
pub async fn claim(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<(Vec<Claimed>, Vec<Uuid>), DbError> {
    let attempts: Vec<Uuid> = ids.iter().map(|_| crate::clock::new_id()).collect();
    let params =
        [(&ids as _, Type::UUID_ARRAY), (&attempts as _, Type::UUID_ARRAY), (&now as _, Type::TIMESTAMPTZ)];
    let rows = db.query_idempotent("claim messages", CLAIM, &params).await?;
    let mut claims = Vec::with_capacity(rows.len());
    let mut refused = Vec::new();
    for row in &rows {
        match row.get::<_, Option<Uuid>>(1) {
            Some(attempt_id) => claims.push(claimed(row, attempt_id)),
            None => refused.push(row.get(0)),
        }
    }
    Ok((claims, refused))
}

fn claimed(row: &Row, attempt_id: Uuid) -> Claimed {
    let media: Value = row.get(7);
    let urls = media.as_array().into_iter().flatten().filter_map(|item| item["url"].as_str());
    Claimed {
        message_id: row.get(0),
        attempt_id,
        attempt_number: row.get(2),
        to: row.get(3),
        from: row.get(4),
        messaging_service_sid: row.get(5),
        message_content: row.get(6),
        media_urls: urls.map(str::to_owned).collect(),
        send_before: row.get(8),
        wanted_at: row.get(9),
    }
}

const OPTED_OUT_NOW: &str = "
select c.opted_out_at is not null
from sms_messages m join sms_conversations c on c.id = m.conversation_id where m.id = $1";

/// Tells whether a message's recipient has opted out by now: to be asked before each call to Twilio that does not
/// follow its claim at once.
///
/// # Errors
///
/// [`DbError`]: the message must not be sent before this is known.
pub async fn opted_out(db: &Db, message_id: Uuid) -> Result<bool, DbError> {
    let params = [(&message_id as _, Type::UUID)];
    let rows = db.query_idempotent("look for an opt-out", OPTED_OUT_NOW, &params).await?;
    Ok(rows.first().is_none_or(|row| row.get(0)))
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Twilio took the message.
    Accepted {
        /// Twilio's id for it.
        twilio_sid: String,
        /// The status that Twilio gave it.
        status: Status,
    },
    /// Twilio surely did not process it: it is tried again then.
    Deferred {
        /// When.
        next_attempt_at: Timestamp,
        /// Twilio's error code, if there is one.
        error_code: Option<String>,
        /// What happened.
        detail: String,
    },
    /// It will not be sent.
    Failed {
        /// Whether Twilio itself refused it, or we gave up trying.
        by_twilio: bool,
        /// Twilio's error code, or a word of ours.
        error_code: String,
        /// What happened.
        detail: String,
    },
    /// It can't be told whether Twilio took it: it is not tried again until that is known.
    Unknown {
        /// What happened.
        detail: String,
    },
}

impl Outcome {
    fn attempt(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Deferred { .. } | Self::Failed { by_twilio: false, .. } => "not_processed",
            Self::Failed { by_twilio: true, .. } => "rejected",
            Self::Unknown { .. } => "unknown",
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Accepted { status, .. } => *status,
            Self::Deferred { .. } => Status::Pending,
            Self::Failed { .. } => Status::Failed,
            Self::Unknown { .. } => Status::Unknown,
        }
    }
}

/// The message and its attempt in one statement. A status callback may have come before the answer: the message then
/// has its SID and a later status, which stay; only the claim ends. A 21610 enters the ledger of opt-outs.
pub(crate) const FINISH: &str = "
with attempt as (
    update sms_send_attempts
    set outcome = $3, twilio_sid = coalesce($5, twilio_sid), error_code = $6, detail = $7, finished_at = $9
    where id = $2 and (outcome is null or outcome = 'unknown')
), finished as (
    update sms_messages m
    set claimed_at = null,
        twilio_sid = coalesce(m.twilio_sid, $5),
        delivery_status =
            case when m.delivery_status = any(string_to_array($10, ',')) then $4 else m.delivery_status end,
        error_code = case when m.delivery_status = any(string_to_array($10, ',')) or m.delivery_status = 'pending'
                          then $6 else m.error_code end,
        next_attempt_at = coalesce($8, m.next_attempt_at),
        enqueued_at = case when $8::timestamptz is null then m.enqueued_at end
    where m.id = $1
    returning m.conversation_id, m.from_number
)
insert into sms_opt_out_events (id, conversation_id, action, source, words, our_number, evidence, created_at)
select gen_random_uuid(), f.conversation_id, 'opt_out', 'twilio_error', '21610', f.from_number, $2::text, $9
from finished f where $6 = '21610'
on conflict do nothing";

/// Records how an attempt ended.
///
/// # Errors
///
/// [`DbError`]: worth another try, since the claim keeps everybody else away; if it can't be recorded, the sweep
/// takes the message for one with an unknown outcome.
pub async fn finish(db: &Db, claim: &Claimed, outcome: &Outcome, now: Timestamp) -> Result<(), DbError> {
    let (sid, code, detail, next) = match outcome {
        Outcome::Accepted { twilio_sid, .. } => (Some(twilio_sid.as_str()), None, None, None),
        Outcome::Deferred { next_attempt_at, error_code, detail } => {
            (None, error_code.as_deref(), Some(detail.as_str()), Some(*next_attempt_at))
        }
        Outcome::Failed { error_code, detail, .. } => {
            (None, Some(error_code.as_str()), Some(detail.as_str()), None)
        }
        Outcome::Unknown { detail } => (None, None, Some(detail.as_str()), None),
    };
    db.query_idempotent(
        "record the outcome of a send",
        FINISH,
        &[
            (&claim.message_id, Type::UUID),
            (&claim.attempt_id, Type::UUID),
            (&outcome.attempt(), Type::TEXT),
            (&outcome.status().as_str(), Type::TEXT),
            (&sid, Type::TEXT),
            (&code, Type::TEXT),
            (&detail, Type::TEXT),
            (&next, Type::TIMESTAMPTZ),
            (&now, Type::TIMESTAMPTZ),
            (&replaced_by(outcome.status()), Type::TEXT),
        ],
    )
    .await?;
    Ok(())
}

pub(crate) const DUE: &str = "
with due as (
    select id from sms_messages
    where delivery_status = 'pending' and twilio_sid is null and claimed_at is null and next_attempt_at <= $1
      and (enqueued_at is null or enqueued_at <= $2)
    order by next_attempt_at limit $3
    for no key update skip locked
)
update sms_messages m set enqueued_at = $1 from due where m.id = due.id
returning m.id, coalesce(m.request_id, m.id::text)";

/// Takes pending messages that are due and not on their queue, or were put there before `lost_before` and never
/// arrived, and notes them as queued. Returns their ids and request ids, for the queue.
///
/// # Errors
///
/// [`DbError`]; the next sweep finds them.
pub async fn take_due(
    db: &Db,
    now: Timestamp,
    lost_before: Timestamp,
    limit: i64,
) -> Result<Vec<(Uuid, String)>, DbError> {
    let rows = db
        .query(
            "find messages to send",
            DUE,
            &[(&now, Type::TIMESTAMPTZ), (&lost_before, Type::TIMESTAMPTZ), (&limit, Type::INT8)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(crate) const ABANDONED: &str = "
with abandoned as (
    select id from sms_messages where claimed_at < $1 order by id limit $2 for no key update skip locked
), attempt as (
    update sms_send_attempts a
    set outcome = 'unknown', finished_at = $3, detail = 'the function ended before the outcome was recorded'
    from abandoned where a.message_id = abandoned.id and a.outcome is null
)
update sms_messages m
set claimed_at = null,
    delivery_status = case when m.delivery_status = 'pending' then 'unknown' else m.delivery_status end
from abandoned where m.id = abandoned.id
returning m.id";

/// Ends the claims of functions that died: what they did is not known, so their messages become `unknown` rather
/// than being sent again. Returns the messages.
///
/// # Errors
///
/// [`DbError`]; the next sweep finds them.
pub async fn abandon_claims(
    db: &Db,
    claimed_before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, DbError> {
    let rows = db
        .query(
            "end abandoned claims",
            ABANDONED,
            &[(&claimed_before, Type::TIMESTAMPTZ), (&limit, Type::INT8), (&now, Type::TIMESTAMPTZ)],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// An answer that this service owes by itself to an inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReply {
    /// The id that the answer will have.
    pub id: Uuid,
    /// The SID of the message that it answers.
    pub in_reply_to: String,
    /// The text.
    pub text: String,
    /// `GSM-7` or `UCS-2`.
    pub encoding: &'static str,
    /// How many segments the text costs.
    pub segments: i32,
}

/// One answer per conversation and period, and one per inbound message: whoever moves the conversation's
/// `auto_replied_at` owes the answer, and the unique `in_reply_to` stops a second one if the batch comes again.
pub(crate) const REPLY: &str = "
with input as (
    select distinct on (m.conversation_id) t.*, m.id as inbound_id, m.conversation_id, m.from_number, m.to_number,
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
      and (c.auto_replied_at is null or c.auto_replied_at <= $7)
    returning c.id
)
insert into sms_messages (id, conversation_id, direction, from_number, to_number, messaging_service_sid,
    message_content, delivery_status, encoding, segments, request_id, in_reply_to, next_attempt_at, enqueued_at,
    created_at)
select i.id, i.conversation_id, 'outbound', i.to_number, i.from_number, i.messaging_service_sid,
    i.message_content, 'pending', i.encoding, i.segments, i.request_id, i.inbound_id, $6, $6, $6
from input i join claimed c on c.id = i.conversation_id
on conflict (in_reply_to) do nothing
returning id, coalesce(request_id, id::text)";

/// Stores the answers that are owed, at most one per conversation and `period`, and returns their ids and request
/// ids for the queue.
///
/// # Errors
///
/// [`DbError`]; the same call later stores what is still owed.
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
