//! Stores a batch of inbound messages in one statement.

use super::{Db, DbError, Json, Type};
use crate::domain::language::{Language, Strength};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// A detected opt-out or opt-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutChange {
    /// `opt_out` or `opt_in`.
    pub action: &'static str,
    /// `keyword`, `free_text`, `opt_out_type` or `twilio_error`.
    pub source: &'static str,
    /// The text of the opt-out or opt-in.
    pub words: Option<String>,
}

/// An inbound message to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInbound {
    /// Its id, if it is not stored yet.
    pub id: Uuid,
    /// The id of its conversation, if there is none yet.
    pub conversation_id: Uuid,
    /// The Twilio account that received it.
    pub account_sid: String,
    /// The key of the conversation: an E.164 number, a short code or an alphanumeric sender.
    pub phone_number_canonical: String,
    /// Twilio's `MessageSid`, unique forever.
    pub twilio_sid: String,
    /// The sender as received.
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
    /// Whether NUL characters were removed from it.
    pub nul_removed: bool,
    /// `en`, `es`, `pt` or `unknown`.
    pub language: &'static str,
    /// The confidence, 0 to 1.
    pub language_confidence: f64,
    /// `opt_out`, `unsure` or `none`.
    pub opt_out_result: &'static str,
    /// The opt-out or opt-in, if it is one.
    pub opt_out: Option<OptOutChange>,
    /// The id of the request.
    pub request_id: String,
    /// When the webhook received it.
    pub received_at: Timestamp,
}

impl NewInbound {
    /// Returns the strength of the language evidence, 0 for none.
    fn language_strength(&self) -> i16 {
        let says_nothing = self.language == Language::Unknown.as_str();
        if says_nothing { 0 } else { Strength::of(self.language_confidence as f32) as i16 }
    }
}

/// A newly stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInbound {
    /// Its id.
    pub message_id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Twilio's message SID.
    pub twilio_sid: String,
    /// The conversation's language before the batch.
    pub previous_language: String,
    /// The conversation's language now.
    pub chosen_language: String,
}

/// Its steps are described in `migrations/functions/sms_store_inbound.sql`.
///
/// It is a SQL function because a connection plans it once. As text, it would be planned for every batch, which takes
/// longer than storing ten messages (`common/docs/decisions/0008-hot-statements-are-functions.md`).
pub const STORE: &str = "
select message_id, conversation_id, twilio_sid, previous_language, chosen_language
from sms_store_inbound($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

/// Stores messages with their conversations and language evidence. Returns the newly stored ones.
///
/// Idempotent: a message that is stored already has no effect, also if the calls are concurrent.
///
/// # Errors
///
/// [`DbError`]: none is stored. If it [is about the data](DbError::is_about_the_data), store them one by one.
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
