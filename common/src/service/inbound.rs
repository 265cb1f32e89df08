//! Builds the rows of inbound messages, from a webhook or from Twilio's message list.

use crate::clock;
use crate::db::inbound::{NewInbound, OptOutChange};
use crate::domain::keywords::{self, Keyword, OptOut, StopKind};
use crate::domain::language;
use crate::domain::opt_out::{OptOutAction, OptOutSource};
use crate::domain::phone::InboundSender;
use crate::domain::sids::AccountSid;
use crate::twilio::{InboundSms, OptOutType};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The maximum confidence in the language of a command. STOP and HELP are English words that people of every language
/// send, so they must not replace better evidence.
const COMMAND_CONFIDENCE: f32 = 0.6;

/// Builds the row of an inbound message: normalizes the number, detects the language, and classifies opt-outs and
/// opt-ins. `raw` is everything that Twilio sent. `own_account` is the account of messages that do not name one.
#[must_use]
pub fn new_inbound(
    sms: InboundSms,
    own_account: &AccountSid,
    raw: Value,
    nul_removed: bool,
    request_id: &str,
    received_at: Timestamp,
) -> NewInbound {
    let keyword = keywords::classify(&sms.body);
    let detected = language::detect(&sms.body);
    let is_a_command = keyword.as_ref().is_some_and(Keyword::is_a_command);
    let confidence =
        if is_a_command { detected.confidence.min(COMMAND_CONFIDENCE) } else { detected.confidence };
    let result = opt_out_result(&sms, keyword.as_ref());
    let opt_out = opt_out_change(&sms, keyword);
    let media = sms.media.iter().map(|media| json!({"url": media.url, "content_type": media.content_type}));
    NewInbound {
        id: clock::new_id().into(),
        conversation_id: clock::new_id().into(),
        account_sid: sms.account_sid.unwrap_or_else(|| own_account.clone()),
        phone_number_canonical: InboundSender::from_twilio(&sms.from),
        twilio_sid: sms.message_sid,
        from_number: sms.from,
        to_number: sms.to,
        messaging_service_sid: sms.messaging_service_sid,
        media: media.collect(),
        message_content: sms.body,
        raw_webhook_data: raw,
        nul_removed,
        language: detected.language,
        // Rounded to hundredths, so that Postgres stores 0.99 rather than the nearest f32.
        language_confidence: (f64::from(confidence) * 100.0).round() / 100.0,
        opt_out_result: result,
        opt_out,
        request_id: request_id.to_owned(),
        received_at,
    }
}

/// Returns the classification of a message. Twilio's `OptOutType` takes precedence over the text.
fn opt_out_result(sms: &InboundSms, keyword: Option<&Keyword>) -> OptOut {
    match sms.opt_out_type {
        Some(OptOutType::Stop) => OptOut::OptOut,
        Some(OptOutType::Start | OptOutType::Help) => OptOut::None,
        None => OptOut::of(keyword),
    }
}

/// Returns the opt-out or opt-in that a message requests. Twilio's `OptOutType` takes precedence over the text.
fn opt_out_change(sms: &InboundSms, keyword: Option<Keyword>) -> Option<OptOutChange> {
    let change =
        |action, source, words: &str| Some(OptOutChange { action, source, words: Some(words.to_owned()) });
    match sms.opt_out_type {
        Some(OptOutType::Stop) => return change(OptOutAction::OptOut, OptOutSource::OptOutType, "STOP"),
        Some(OptOutType::Start) => return change(OptOutAction::OptIn, OptOutSource::OptOutType, "START"),
        Some(OptOutType::Help) => return None,
        None => {}
    }
    let on_toll_free = keywords::is_toll_free(&sms.to);
    match if on_toll_free { keyword?.on_toll_free()? } else { keyword? } {
        Keyword::Stop { words, kind: StopKind::Word } => {
            change(OptOutAction::OptOut, OptOutSource::Keyword, &words)
        }
        Keyword::Stop { words, kind: StopKind::FreeText } => {
            change(OptOutAction::OptOut, OptOutSource::FreeText, &words)
        }
        Keyword::Start { word } => change(OptOutAction::OptIn, OptOutSource::Keyword, word),
        Keyword::Help | Keyword::Unsure => None,
    }
}
