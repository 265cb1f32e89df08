//! Storing inbound messages: a whole batch in one statement.

use super::{Db, DbError, Json, Type};
use crate::domain::language::{Language, Strength};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// How a handset's wish to opt out or in was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutChange {
    /// `opt_out` or `opt_in`.
    pub action: &'static str,
    /// `keyword`, `free_text`, `opt_out_type` or `twilio_error`.
    pub source: &'static str,
    /// The words that said so.
    pub words: Option<String>,
}

/// An inbound message to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInbound {
    /// The id it will have, unless it is stored already.
    pub id: Uuid,
    /// The id that its conversation will have, unless there is one.
    pub conversation_id: Uuid,
    /// The Twilio account that received it.
    pub account_sid: String,
    /// The sender as conversations are keyed: E.164, or a short code or alphanumeric sender as it is.
    pub phone_number_canonical: String,
    /// Twilio's `MessageSid`: unique for ever.
    pub twilio_sid: String,
    /// The sender as Twilio wrote it.
    pub from_number: String,
    /// Our number.
    pub to_number: String,
    /// The messaging service that the number belongs to.
    pub messaging_service_sid: Option<String>,
    /// The text.
    pub message_content: String,
    /// References to media: `[{url, content_type}]`.
    pub media: Value,
    /// The whole form.
    pub raw_webhook_data: Value,
    /// Whether NULs had to be removed from it.
    pub nul_removed: bool,
    /// `en`, `es`, `pt` or `unknown`.
    pub language: &'static str,
    /// How sure that is, 0 to 1.
    pub language_confidence: f64,
    /// `opt_out`, `unsure` or `none`: whether it refuses messages.
    pub opt_out_result: &'static str,
    /// The handset's wish to opt out or in, if it is one.
    pub opt_out: Option<OptOutChange>,
    /// The request that brought it.
    pub request_id: String,
    /// When the webhook received it.
    pub received_at: Timestamp,
}

impl NewInbound {
    /// Weighs what the text says about its writer's language, 0 for nothing.
    fn language_strength(&self) -> i16 {
        let says_nothing = self.language == Language::Unknown.as_str();
        if says_nothing { 0 } else { Strength::of(self.language_confidence as f32) as i16 }
    }
}

/// A message that was stored for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInbound {
    /// Its row.
    pub message_id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Twilio's id.
    pub twilio_sid: String,
    /// The language that its conversation held before the batch.
    pub previous_language: String,
    /// The language that its conversation holds now.
    pub chosen_language: String,
}

/// Runs the function that `migrations/0019_opt_out_results.sql` holds; `0009_tenants.sql` and `0005_store_inbound.sql` explain
/// it step by step.
///
/// It is kept in Postgres because a connection then plans it once; sent as text, it would be planned for every batch,
/// which takes longer than storing ten messages (`common/docs/decisions/0008-hot-statements-are-functions.md`).
pub const STORE: &str = "
select message_id, conversation_id, twilio_sid, previous_language, chosen_language
from sms_store_inbound_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

/// Stores messages with their conversations and what these say about their language, and returns those that were not
/// stored before.
///
/// Free of effect for a message that is stored already, however often and however concurrently it is repeated.
///
/// # Errors
///
/// [`DbError`]; none of the messages is then stored. When it [is about the data](DbError::is_about_the_data), store
/// them one by one to find the one at fault.
pub async fn store(db: &Db, messages: &[NewInbound]) -> Result<Vec<StoredInbound>, DbError> {
    let column = |of: fn(&NewInbound) -> &str| messages.iter().map(of).collect::<Vec<_>>();
    let opt = |of: fn(&OptOutChange) -> Option<&str>| {
        messages.iter().map(|m| m.opt_out.as_ref().and_then(of)).collect::<Vec<_>>()
    };
    let ids: Vec<Uuid> = messages.iter().map(|m| m.id).collect();
    let conversation_ids: Vec<Uuid> = messages.iter().map(|m| m.conversation_id).collect();
    let services: Vec<_> = messages.iter().map(|m| m.messaging_service_sid.as_deref()).collect();
    let media: Vec<_> = messages.iter().map(|m| Json(&m.media)).collect();
    let raw: Vec<_> = messages.iter().map(|m| Json(&m.raw_webhook_data)).collect();
    let nul_removed: Vec<bool> = messages.iter().map(|m| m.nul_removed).collect();
    let confidences: Vec<f64> = messages.iter().map(|m| m.language_confidence).collect();
    let strengths: Vec<i16> = messages.iter().map(NewInbound::language_strength).collect();
    let received: Vec<Timestamp> = messages.iter().map(|m| m.received_at).collect();
    let rows = db
        .query_idempotent(
            "store inbound messages",
            STORE,
            &[
                (&ids, Type::UUID_ARRAY),
                (&conversation_ids, Type::UUID_ARRAY),
                (&column(|m| &m.account_sid), Type::TEXT_ARRAY),
                (&column(|m| &m.phone_number_canonical), Type::TEXT_ARRAY),
                (&column(|m| &m.twilio_sid), Type::TEXT_ARRAY),
                (&column(|m| &m.from_number), Type::TEXT_ARRAY),
                (&column(|m| &m.to_number), Type::TEXT_ARRAY),
                (&services, Type::TEXT_ARRAY),
                (&column(|m| &m.message_content), Type::TEXT_ARRAY),
                (&media, Type::JSONB_ARRAY),
                (&raw, Type::JSONB_ARRAY),
                (&nul_removed, Type::BOOL_ARRAY),
                (&column(|m| m.language), Type::TEXT_ARRAY),
                (&confidences, Type::FLOAT8_ARRAY),
                (&strengths, Type::INT2_ARRAY),
                (&column(|m| m.opt_out_result), Type::TEXT_ARRAY),
                (&opt(|o| Some(o.action)), Type::TEXT_ARRAY),
                (&opt(|o| Some(o.source)), Type::TEXT_ARRAY),
                (&opt(|o| o.words.as_deref()), Type::TEXT_ARRAY),
                (&column(|m| &m.request_id), Type::TEXT_ARRAY),
                (&received, Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| StoredInbound {
            message_id: row.get(0),
            conversation_id: row.get(1),
            twilio_sid: row.get(2),
            previous_language: row.get(3),
            chosen_language: row.get(4),
        })
        .collect())
}
