//! Stores messages to send.

use crate::db::{Db, DbError, Json, Type};
use crate::domain::metadata::Metadata;
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
    pub id: Uuid,
    /// The id of its conversation, if there is none yet.
    pub conversation_id: Uuid,
    /// The Twilio account.
    pub account_sid: String,
    /// The recipient in E.164.
    pub to: String,
    /// The recipient as the caller spelled it.
    pub to_original: String,
    /// The sender number. `None` if the messaging service chooses.
    pub from: Option<String>,
    /// The messaging service, if there is no number.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// References to media: `[{url, content_type}]`.
    pub media: Value,
    /// `GSM-7` or `UCS-2`.
    pub encoding: &'static str,
    /// The number of segments.
    pub segments: i32,
    /// `urgent`, `normal` or `bulk`.
    pub priority: &'static str,
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
        conversation_id: Uuid,
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
    pub message_id: Uuid,
}

/// Its steps are described in `migrations/functions/sms_create_send.sql`.
pub(crate) const CREATE: &str = "
select opted_out, conversation_id
from sms_create_send($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23)";

pub(crate) const REPEATED: &str = "
select payload_hash, resource_id from idempotency_keys
where api_key_id = $1 and idempotency_key = $2 and created_at >= $3";

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

/// Stores a message to send, once per Idempotency-Key. If the client got an error because Postgres timed out, the
/// message must not be sent when Postgres recovers, hence the second round trip.
///
/// # Errors
///
/// [`DbError`]: the message may be stored if the connection failed during the commit. Return an error; a retry with the
/// same Idempotency-Key is safe.
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
    // A repeated request gets the first response, even if the recipient has opted out since.
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
