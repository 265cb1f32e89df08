//! Stores a batch of inbound messages in one statement.

use super::{Db, DbError, Statement, params, row, statements};
use crate::clock;
use crate::domain::event::{EventData, EventType, MessageReceived, OptOutSuspected, OptedIn, OptedOut};
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::keywords::OptOut;
use crate::domain::language::{Language, Strength};
use crate::domain::message::Direction;
use crate::domain::opt_out::{OptOutAction, OptOutSource};
use crate::domain::phone::InboundSender;
use crate::domain::sids::{AccountSid, MessageSid};
use jiff::Timestamp;
use serde_json::Value;

/// A detected opt-out or opt-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutChange {
    /// What it does.
    pub action: OptOutAction,
    /// How it was detected.
    pub source: OptOutSource,
    /// The text of the opt-out or opt-in.
    pub words: Option<String>,
}

/// An inbound message to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInbound {
    /// Its id, if it is not stored yet.
    pub id: MessageId,
    /// The id of its conversation, if there is none yet.
    pub conversation_id: ConversationId,
    /// The Twilio account that received it.
    pub account_sid: AccountSid,
    /// The key of the conversation.
    pub phone_number_canonical: InboundSender,
    /// Twilio's `MessageSid`, unique forever.
    pub twilio_sid: MessageSid,
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
    /// The detected language.
    pub language: Language,
    /// The confidence, 0 to 1.
    pub language_confidence: f64,
    /// Whether it is an opt-out.
    pub opt_out_result: OptOut,
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
        let is_unknown = self.language == Language::Unknown;
        if is_unknown { 0 } else { Strength::of(self.language_confidence as f32) as i16 }
    }

    /// Returns the data of the event of its receipt.
    fn received(&self) -> String {
        let num_media = self.media.as_array().map_or(0, Vec::len);
        MessageReceived {
            direction: Direction::Inbound,
            twilio_sid: self.twilio_sid.to_string(),
            language: self.language,
            language_confidence: self.language_confidence,
            num_media: num_media.try_into().unwrap_or(u32::MAX),
            opt_out: self.opt_out_result,
        }
        .json()
    }

    /// Returns the event of an opt-out, an opt-in or a suspected opt-out, with its data.
    fn opt_event(&self) -> Option<(EventType, String)> {
        match (&self.opt_out, self.opt_out_result) {
            (Some(OptOutChange { action: OptOutAction::OptOut, source, .. }), _) => {
                Some((OptedOut::TYPE, OptedOut { source: *source, scope: None }.json()))
            }
            (Some(OptOutChange { action: OptOutAction::OptIn, source, .. }), _) => {
                Some((OptedIn::TYPE, OptedIn { source: *source, scope: None }.json()))
            }
            (None, OptOut::Unsure) => {
                let suspected = OptOutSuspected { twilio_sid: self.twilio_sid.to_string() };
                Some((OptOutSuspected::TYPE, suspected.json()))
            }
            (None, OptOut::OptOut | OptOut::None) => None,
        }
    }
}

row! {
    /// A newly stored message.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoredInbound {
        /// Its id.
        pub message_id: MessageId,
        /// Its conversation.
        pub conversation_id: ConversationId,
        /// Twilio's message SID.
        pub twilio_sid: MessageSid,
        /// The conversation's language before the batch.
        pub previous_language: Language,
        /// The conversation's language now.
        pub chosen_language: Language,
    }
}

/// Its steps are described in `migrations/functions/sms_store_inbound.sql`.
///
/// It is a SQL function because a connection plans it once. As text, it would be planned for every batch, which takes
/// longer than storing ten messages (`common/docs/decisions/0008-hot-statements-are-functions.md`).
pub const STORE: Statement<StoredInbound> = Statement::new(
    "store inbound messages",
    "
select message_id, conversation_id, twilio_sid, previous_language, chosen_language
from sms_store_inbound(
    ids => $ids, conversation_ids => $conversation_ids, account_sids => $account_sids,
    canonicals => $phone_numbers_canonical, twilio_sids => $twilio_sids, from_numbers => $from_numbers,
    to_numbers => $to_numbers, service_sids => $messaging_service_sids, contents => $message_contents,
    media_lists => $media, raw_data => $raw_webhook_data, nuls_removed => $nul_removed, languages => $languages,
    language_confidences => $language_confidences, language_strengths => $language_strengths,
    opt_outs => $opt_out_results, opt_actions => $opt_out_actions, opt_sources => $opt_out_sources,
    opt_words => $opt_out_words, request_ids => $request_ids, received => $received_at,
    received_event => $received_event, event_data => $event_data, opt_events => $opt_events,
    opt_event_data => $opt_event_data, language_event => $language_event, at => $now)",
);

/// Stores messages with their conversations, language evidence and events. Returns the newly stored ones.
///
/// Idempotent: a message that is stored already has no effect, also if the calls are concurrent.
///
/// # Errors
///
/// [`DbError`]: none is stored. If it [is about the data](DbError::is_about_the_data), store them one by one.
pub async fn store(db: &Db, messages: &[NewInbound]) -> Result<Vec<StoredInbound>, DbError> {
    let text = |of: fn(&NewInbound) -> &str| messages.iter().map(of).collect::<Vec<_>>();
    let opt_outs = || messages.iter().map(|m| m.opt_out.as_ref());
    let (opt_events, opt_event_data): (Vec<_>, Vec<_>) =
        messages.iter().map(|m| m.opt_event().unzip()).unzip();
    let params = params! {
        ids: messages.iter().map(|m| m.id).collect::<Vec<_>>(),
        conversation_ids: messages.iter().map(|m| m.conversation_id).collect::<Vec<_>>(),
        account_sids: messages.iter().map(|m| &m.account_sid).collect::<Vec<_>>(),
        phone_numbers_canonical: messages.iter().map(|m| &m.phone_number_canonical).collect::<Vec<_>>(),
        twilio_sids: messages.iter().map(|m| &m.twilio_sid).collect::<Vec<_>>(),
        from_numbers: text(|m| &m.from_number),
        to_numbers: text(|m| &m.to_number),
        messaging_service_sids: messages.iter().map(|m| m.messaging_service_sid.as_deref()).collect::<Vec<_>>(),
        message_contents: text(|m| &m.message_content),
        media: messages.iter().map(|m| &m.media).collect::<Vec<_>>(),
        raw_webhook_data: messages.iter().map(|m| &m.raw_webhook_data).collect::<Vec<_>>(),
        nul_removed: messages.iter().map(|m| m.nul_removed).collect::<Vec<_>>(),
        languages: messages.iter().map(|m| m.language).collect::<Vec<_>>(),
        language_confidences: messages.iter().map(|m| m.language_confidence).collect::<Vec<_>>(),
        language_strengths: messages.iter().map(NewInbound::language_strength).collect::<Vec<_>>(),
        opt_out_results: messages.iter().map(|m| m.opt_out_result).collect::<Vec<_>>(),
        opt_out_actions: opt_outs().map(|o| o.map(|o| o.action)).collect::<Vec<_>>(),
        opt_out_sources: opt_outs().map(|o| o.map(|o| o.source)).collect::<Vec<_>>(),
        opt_out_words: opt_outs().map(|o| o?.words.as_deref()).collect::<Vec<_>>(),
        request_ids: text(|m| &m.request_id),
        received_at: messages.iter().map(|m| m.received_at).collect::<Vec<_>>(),
        received_event: EventType::MessageReceived,
        event_data: messages.iter().map(NewInbound::received).collect::<Vec<_>>(),
        opt_events,
        opt_event_data,
        language_event: EventType::LanguageChanged,
        now: clock::now(),
    };
    db.query_idempotent(&STORE, &params).await
}

statements!(STORE);
