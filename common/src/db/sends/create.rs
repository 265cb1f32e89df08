//! Requests to send: a message is a row before anything else.

use crate::db::{Db, DbError, Json, Type};
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// How long an `Idempotency-Key` is remembered (SPEC §6).
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

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
