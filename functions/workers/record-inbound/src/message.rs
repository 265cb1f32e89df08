//! What an inbound message of Twilio's becomes, whichever way it came.

use common::clock;
use common::db::inbound::{NewInbound, OptOutChange};
use common::domain::keywords::{self, Keyword, OptOut, StopKind};
use common::domain::language;
use common::domain::phone::Sender;
use common::twilio::{InboundSms, OptOutType};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How sure a language is at most that somebody was told to use: STOP and HELP are English, their writers need not be. It is
/// weak evidence, which changes nothing where there is better.
const COMMAND_CONFIDENCE: f32 = 0.6;

/// Makes a message to be stored of what Twilio says of it: its conversation's number, its language, and whether it is a
/// wish to opt out or in. `raw` is all that Twilio said.
#[must_use]
pub fn new_inbound(
    sms: InboundSms,
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
        id: clock::new_id(),
        conversation_id: clock::new_id(),
        account_sid: sms.account_sid.unwrap_or_default(),
        phone_number_canonical: Sender::from_twilio(&sms.from).canonical().to_owned(),
        twilio_sid: sms.message_sid,
        from_number: sms.from,
        to_number: sms.to,
        messaging_service_sid: sms.messaging_service_sid,
        media: media.collect(),
        message_content: sms.body,
        raw_webhook_data: raw,
        nul_removed,
        language: detected.language.as_str(),
        // Hundredths, written as such: 0.99 rather than the nearest f32.
        language_confidence: (f64::from(confidence) * 100.0).round() / 100.0,
        opt_out_result: result.as_str(),
        opt_out,
        request_id: request_id.to_owned(),
        received_at,
    }
}

/// Tells whether a message refuses messages: Twilio's own word for it first, then the text.
fn opt_out_result(sms: &InboundSms, keyword: Option<&Keyword>) -> OptOut {
    match sms.opt_out_type {
        Some(OptOutType::Stop) => OptOut::OptOut,
        Some(OptOutType::Start | OptOutType::Help) => OptOut::None,
        None => OptOut::of(keyword),
    }
}

/// Reads a wish to opt out or in: Twilio's own word for it first, then the text.
fn opt_out_change(sms: &InboundSms, keyword: Option<Keyword>) -> Option<OptOutChange> {
    let change =
        |action, source, words: &str| Some(OptOutChange { action, source, words: Some(words.to_owned()) });
    match sms.opt_out_type {
        Some(OptOutType::Stop) => return change("opt_out", "opt_out_type", "STOP"),
        Some(OptOutType::Start) => return change("opt_in", "opt_out_type", "START"),
        Some(OptOutType::Help) => return None,
        None => {}
    }
    let on_toll_free = keywords::is_toll_free(&sms.to);
    match if on_toll_free { keyword?.on_toll_free()? } else { keyword? } {
        Keyword::Stop { words, kind: StopKind::Word } => change("opt_out", "keyword", &words),
        Keyword::Stop { words, kind: StopKind::FreeText } => change("opt_out", "free_text", &words),
        Keyword::Start { word } => change("opt_in", "keyword", word),
        Keyword::Help | Keyword::Unsure => None,
    }
}
