//! Storing inbound messages: a whole batch in one statement.

use super::{Db, DbError, Json, Type};
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
    /// The handset's wish to opt out or in, if it is one.
    pub opt_out: Option<OptOutChange>,
    /// The request that brought it.
    pub request_id: String,
    /// When the webhook received it.
    pub received_at: Timestamp,
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
}

/// The steps of the statement:
/// - `input`: one row per MessageSid, since a batch may hold the same webhook twice;
/// - `fresh`: those not stored before;
/// - `existing`: their conversations, locked in the order of ids, so that two batches never wait for each other;
/// - `created`: the conversations that were missing; the update changes nothing but makes the row that a neighbour
///   created a moment ago appear in the result, which `do nothing` would not;
/// - `stored`: the messages, except those that a neighbour stored a moment ago;
/// - `opted`: the ledger's entries of those.
///
/// Triggers then keep the conversations' counts, latest activity and opt-out with what was truly inserted.
pub const STORE: &str = "
with input as (
    select distinct on (twilio_sid) *
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::jsonb[], $11::jsonb[], $12::bool[], $13::text[], $14::float8[], $15::text[],
                $16::text[], $17::text[], $18::text[], $19::timestamptz[])
        as t (id, conversation_id, account_sid, canonical, twilio_sid, from_number, to_number,
              messaging_service_sid, message_content, media, raw_webhook_data, nul_removed, language,
              language_confidence, opt_action, opt_source, opt_words, request_id, received_at)
    order by twilio_sid, received_at
), fresh as (
    select * from input i where not exists (select from sms_messages m where m.twilio_sid = i.twilio_sid)
), existing as (
    select c.id, c.account_sid, c.phone_number_canonical
    from sms_conversations c
    where (c.account_sid, c.phone_number_canonical) in (select f.account_sid, f.canonical from fresh f)
    order by c.id
    for no key update
), created as (
    insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
    select distinct on (f.account_sid, f.canonical)
           f.conversation_id, f.account_sid, f.canonical, f.from_number, f.received_at
    from fresh f
    where not exists (select from existing e
                      where e.account_sid = f.account_sid and e.phone_number_canonical = f.canonical)
    order by f.account_sid, f.canonical, f.received_at
    on conflict (account_sid, phone_number_canonical)
        do update set phone_number_canonical = excluded.phone_number_canonical
    returning id, account_sid, phone_number_canonical
), conversation as (
    select * from existing union all select * from created
), stored as (
    insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
        messaging_service_sid, message_content, media, delivery_status, language, language_confidence,
        raw_webhook_data, nul_removed, request_id, created_at)
    select f.id, c.id, 'inbound', f.twilio_sid, f.from_number, f.to_number, f.messaging_service_sid,
        f.message_content, f.media, 'received', f.language, f.language_confidence, f.raw_webhook_data,
        f.nul_removed, f.request_id, f.received_at
    from fresh f
    join conversation c on c.account_sid = f.account_sid and c.phone_number_canonical = f.canonical
    order by f.twilio_sid
    on conflict (twilio_sid) do nothing
    returning id, conversation_id, twilio_sid
), opted as (
    insert into sms_opt_out_events
        (id, conversation_id, action, source, words, our_number, evidence, created_at)
    select gen_random_uuid(), s.conversation_id, f.opt_action, f.opt_source, f.opt_words, f.to_number,
        f.twilio_sid, f.received_at
    from fresh f join stored s on s.twilio_sid = f.twilio_sid
    where f.opt_action is not null
)
select id, conversation_id, twilio_sid from stored";

/// Stores messages with their conversations, and returns those that were not stored before.
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
        })
        .collect())
}
