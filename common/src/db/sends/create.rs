//! Stores messages to send.

use crate::db::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::message::{Priority, Purpose};
use crate::domain::metadata::Metadata;
use crate::domain::phone::E164;
use crate::domain::segments::Encoding;
use crate::domain::sender::Sender;
use crate::domain::sids::AccountSid;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// How long an `Idempotency-Key` is remembered.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSend {
    /// Its id.
    pub id: MessageId,
    /// The id of its conversation, if there is none yet.
    pub conversation_id: ConversationId,
    /// The Twilio account.
    pub account_sid: AccountSid,
    /// The recipient.
    pub to: E164,
    /// The recipient as the caller spelled it.
    pub to_original: String,
    /// The sender.
    pub sender: Sender,
    /// The sender that the conversation used before, if `sender` replaces it.
    pub replaced_from: Option<Sender>,
    /// The text.
    pub message_content: String,
    /// References to media: `[{url, content_type}]`.
    pub media: Value,
    /// The encoding.
    pub encoding: Encoding,
    /// The number of segments.
    pub segments: i32,
    /// The priority.
    pub priority: Priority,
    /// What it is for.
    pub purpose: Purpose,
    /// The workflow that requests it.
    pub workflow_type: Option<String>,
    /// The instance of the workflow.
    pub workflow_id: Option<String>,
    /// The caller's metadata.
    pub metadata: Option<Metadata>,
    /// The earliest time to send.
    pub send_at: Option<Timestamp>,
    /// The latest time to send.
    pub send_before: Option<Timestamp>,
    /// The API key.
    pub api_key_id: Uuid,
    /// The id of the request.
    pub request_id: String,
    /// The trace that its sends continue.
    pub trace_context: Option<String>,
    /// The current time.
    pub created_at: Timestamp,
}

/// The idempotency key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of the payload.
    pub payload_hash: Vec<u8>,
}

/// The result of a request to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The message is stored.
    Stored {
        /// Its conversation.
        conversation_id: ConversationId,
    },
    /// The recipient has opted out. Nothing was stored.
    OptedOut,
    /// The key was used before.
    Repeated(Repeated),
}

/// The earlier use of an Idempotency-Key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// Whether the payload is the same.
    pub same_payload: bool,
    /// The message of the first request.
    pub message_id: MessageId,
}

row! {
    struct Stored {
        opted_out: bool,
        conversation_id: Option<ConversationId>,
    }
}

/// Its steps are described in `migrations/functions/sms_create_send_3.sql`.
const CREATE: Statement<Stored> = Statement::new(
    "store a message to send",
    "
select opted_out, conversation_id
from sms_create_send_3(
    new_id => $id, new_conversation => $conversation_id, account => $account_sid, recipient => $to,
    recipient_original => $to_original, sender_number => $from, service_sid => $messaging_service_sid,
    replaced => $replaced_from, content => $message_content, media_list => $media, text_encoding => $encoding,
    segment_count => $segments, urgency => $priority, for_purpose => $purpose, for_workflow_type => $workflow_type,
    for_workflow_id => $workflow_id, kept_metadata => $metadata,
    not_before => $send_at, not_after => $send_before, by_key => $api_key_id,
    by_request => $request_id, trace => $trace_context, now_at => $created_at, once_key => $idempotency_key,
    once_hash => $payload_hash, forgotten_before => $forgotten_before)",
);

row! {
    struct FirstRequest {
        payload_hash: Vec<u8>,
        message_id: MessageId = "resource_id",
    }
}

const REPEATED: Statement<FirstRequest> = Statement::new(
    "look up an idempotency key",
    "
select payload_hash, resource_id from idempotency_keys
where api_key_id = $api_key_id and idempotency_key = $idempotency_key and created_at >= $remembered_since",
);

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
) -> Result<Option<Repeated>, DbError> {
    let params = params! {
        api_key_id,
        idempotency_key: idempotency.key,
        remembered_since: now - IDEMPOTENCY_TTL,
    };
    let rows = db.query_idempotent(&REPEATED, &params).await?;
    Ok(rows.first().map(|first| Repeated {
        same_payload: first.payload_hash == idempotency.payload_hash,
        message_id: first.message_id,
    }))
}

/// Stores a message to send, once per Idempotency-Key. If the client got an error because Postgres timed out, the
/// message must not be sent when Postgres recovers, hence the second round trip.
///
/// # Errors
///
/// [`DbError`]: the message may be stored if the connection failed during the commit. Return an error; a retry with the
/// same Idempotency-Key is safe.
pub async fn create(db: &Db, send: &NewSend, idempotency: Option<&Idempotency>) -> Result<Created, DbError> {
    let NewSend { id, conversation_id, account_sid, to, to_original, sender, replaced_from, .. } = send;
    let NewSend { message_content, media, encoding, segments, priority, purpose, .. } = send;
    let NewSend {
        workflow_type,
        workflow_id,
        metadata,
        send_at,
        send_before,
        api_key_id,
        request_id,
        trace_context,
        created_at,
        ..
    } = send;
    let params = params! {
        id,
        conversation_id,
        account_sid,
        to,
        to_original,
        from: sender.number(),
        messaging_service_sid: sender.messaging_service_sid(),
        replaced_from: replaced_from.as_ref().map(Sender::as_str),
        message_content,
        media,
        encoding,
        segments,
        priority,
        purpose,
        workflow_type,
        workflow_id,
        metadata,
        send_at,
        send_before,
        api_key_id,
        request_id,
        trace_context,
        created_at,
        idempotency_key: idempotency.map(|i| i.key.as_str()),
        payload_hash: idempotency.map(|i| i.payload_hash.as_slice()),
        forgotten_before: send.created_at - IDEMPOTENCY_TTL,
    };
    let stored = db.query_confirmed(&CREATE, &params).await?.into_iter().next();
    if let Some(conversation_id) = stored.as_ref().and_then(|stored| stored.conversation_id) {
        return Ok(Created::Stored { conversation_id });
    }
    // A repeated request gets the first response, even if the recipient has opted out since.
    if let Some(idempotency) = idempotency
        && let Some(repeated) = repeated(db, send.api_key_id, idempotency, send.created_at).await?
    {
        return Ok(Created::Repeated(repeated));
    }
    if stored.is_some_and(|stored| stored.opted_out) {
        return Ok(Created::OptedOut);
    }
    Err(DbError::Decode {
        operation: "store a message to send",
        source: "neither a message nor a reason for none came back".into(),
    })
}

statements!(CREATE, REPEATED);
