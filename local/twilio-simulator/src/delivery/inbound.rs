//! Inbound messages: the webhook request, keyword notices and TwiML replies.
//!
//! <https://www.twilio.com/docs/messaging/guides/webhook-request>

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::now;
use crate::config::PhoneNumber;
use crate::delivery::engine::Engine;
use crate::delivery::opt_out::{Keyword, is_toll_free, keyword_of};
use crate::delivery::twiml;
use crate::delivery::webhook::{Call, Outcome};
use crate::state::change::Change;
use crate::state::file::{Bytes, File};
use crate::state::message::{
    API_VERSION, Direction, MAX_MEDIA, MAX_MEDIA_BYTES, MAX_VALIDITY_SECONDS, Media, Message, Received,
    ReceivedKind,
};
use crate::state::plan::Plan;
use crate::state::segments;
use crate::state::status::Status;

/// A request to send a text from a handset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    /// A phone number of the account; default: the first.
    pub(crate) to: Option<String>,
    #[serde(default)]
    pub(crate) body: String,
    #[serde(default)]
    pub(crate) media_urls: Vec<String>,
    /// Files to attach.
    #[serde(default)]
    pub(crate) media: Vec<Attachment>,
    /// Parameters to add to the webhook request or to replace.
    #[serde(default)]
    pub(crate) params: BTreeMap<String, String>,
    /// How many times to send the same webhook request, concurrently.
    #[serde(default = "once")]
    pub(crate) repeat: usize,
}

fn once() -> usize {
    1
}

/// A file that a handset attaches to a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attachment {
    pub(crate) content_type: String,
    /// The content as Base64.
    pub(crate) data: Bytes,
}

impl Attachment {
    fn is_valid(&self) -> bool {
        let content_type = &self.content_type;
        content_type.contains('/')
            && HeaderValue::from_str(content_type).is_ok()
            && self.data.0.len() <= MAX_MEDIA_BYTES
    }
}

/// The result of a text from a handset.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sent {
    message_sid: String,
    message: Value,
    /// The opt-out keyword, if the text is one.
    opt_out: Option<&'static str>,
    /// The webhook request, with `repeat` the last one; null if the number has no webhook.
    webhook: Option<Outcome>,
    /// The number of webhook requests with a 2xx response.
    delivered: usize,
    /// The texts sent back to the handset: keyword notices and TwiML replies.
    replies: Vec<String>,
}

/// A text that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    /// The account does not have this phone number.
    #[error("{0} is not one of this account's numbers")]
    UnknownNumber(String),
    /// Twilio accepts no such message from a carrier.
    #[error("media: at most {MAX_MEDIA} files, each with a content type and at most {MAX_MEDIA_BYTES} bytes")]
    Media,
}

/// Sends a text from `handset` to a phone number of the account and waits for the webhook.
///
/// # Errors
/// [`Unsendable`] when the account does not have the number in `to`, or when Twilio does not accept the media.
pub(crate) async fn send(engine: &Arc<Engine>, handset: &str, mut text: Text) -> Result<Sent, Unsendable> {
    let own = match &text.to {
        Some(to) => engine.config.number(to).ok_or_else(|| Unsendable::UnknownNumber(to.clone()))?,
        None => engine.config.numbers.first().ok_or_else(|| Unsendable::UnknownNumber(String::new()))?,
    };
    if text.media.len() + text.media_urls.len() > MAX_MEDIA || !text.media.iter().all(Attachment::is_valid) {
        return Err(Unsendable::Media);
    }
    let mut message = incoming(engine, handset, &own.number, &text);
    attach(engine, &mut message, std::mem::take(&mut text.media));
    engine.store().record(Change::Message(Box::new(message.clone())));
    engine.publish_message(&message);
    let keyword = keyword_of(&text.body, is_toll_free(&own.number));
    let mut replies = apply_keyword(engine, handset, &own.number, keyword);
    let outcomes = post(engine, &message, own, keyword, &text).await;
    let failed = outcomes.iter().find(|outcome| !outcome.delivered);
    if let Some(failed) = failed {
        let code = if failed.status.is_some() { 11200 } else { 11205 };
        let marked = engine.store().update(&message.sid, |message| {
            message.error_code = Some(code);
            true
        });
        marked.iter().for_each(|message| engine.publish_message(message));
    }
    for body in outcomes.iter().flat_map(|outcome| twiml::replies(&outcome.response)) {
        reply(engine, &own.number, handset, &body, ReceivedKind::Reply);
        replies.push(body);
    }
    let message = engine.store().get(&message.sid).cloned().unwrap_or(message);
    Ok(Sent {
        message: engine.shown(&message),
        message_sid: message.sid,
        opt_out: keyword.map(Keyword::as_str),
        delivered: outcomes.iter().filter(|outcome| outcome.delivered).count(),
        webhook: outcomes.into_iter().last(),
        replies,
    })
}

fn incoming(engine: &Engine, handset: &str, own: &str, text: &Text) -> Message {
    let at = now();
    let has_media = !text.media.is_empty() || !text.media_urls.is_empty();
    Message {
        sid: engine.fresh_sid(if has_media { "MM" } else { "SM" }),
        direction: Direction::Inbound,
        from: Some(handset.to_owned()),
        to: own.to_owned(),
        body: text.body.clone(),
        media: text.media_urls.iter().map(|url| Media::new(engine.fresh_sid("ME"), url)).collect(),
        messaging_service_sid: engine.config.service_of(own).map(|service| service.sid.clone()),
        status: Status::Received,
        error_code: None,
        created: at,
        updated: at,
        sent: Some(at),
        send_at: None,
        validity_seconds: MAX_VALIDITY_SECONDS,
        status_callback: None,
        plan: Plan::default(),
    }
}

/// Stores files and adds them to a message.
fn attach(engine: &Engine, message: &mut Message, files: Vec<Attachment>) {
    for Attachment { content_type, data } in files {
        let sid = engine.fresh_sid("ME");
        let uri = message.media_uri(&engine.config.account_sid, &sid);
        let url = format!("{}{uri}", engine.origins.api);
        let file = File { message_sid: message.sid.clone(), content_type: content_type.clone(), bytes: data };
        engine.store().record(Change::File(sid.clone(), file));
        message.media.push(Media { sid, url, content_type, is_stored: true });
    }
}

/// Stores the opt-out and returns the notice to the handset. STOP and START without effect get no notice.
fn apply_keyword(engine: &Arc<Engine>, handset: &str, own: &str, keyword: Option<Keyword>) -> Vec<String> {
    let Some(keyword) = keyword else { return Vec::new() };
    let covered = engine.config.opt_out_scope(own);
    let changes = {
        let mut store = engine.store();
        let is_out = store.opted_out(handset, covered);
        let changes = match keyword {
            Keyword::Stop => !is_out,
            Keyword::Start => is_out,
            Keyword::Help => true,
        };
        if changes && keyword != Keyword::Help {
            let (handset, scope) = (handset.to_owned(), covered.to_owned());
            store.record(Change::OptOut { handset, scope, out: keyword == Keyword::Stop });
        }
        changes
    };
    if !changes {
        return Vec::new();
    }
    let notice = keyword.notice(is_toll_free(own));
    reply(engine, own, handset, notice, ReceivedKind::Notice);
    engine.publish_change();
    vec![notice.to_owned()]
}

/// Delivers a keyword notice or a TwiML reply to a handset.
fn reply(engine: &Arc<Engine>, from: &str, handset: &str, body: &str, kind: ReceivedKind) {
    let at = now();
    let message = Message {
        sid: engine.fresh_sid("SM"),
        direction: Direction::OutboundReply,
        from: Some(from.to_owned()),
        to: handset.to_owned(),
        body: body.to_owned(),
        media: Vec::new(),
        messaging_service_sid: None,
        status: Status::Delivered,
        error_code: None,
        created: at,
        updated: at,
        sent: Some(at),
        send_at: None,
        validity_seconds: MAX_VALIDITY_SECONDS,
        status_callback: None,
        plan: Plan::default(),
    };
    {
        let mut store = engine.store();
        store.record(Change::Received(Received::of(&message, kind)));
        store.record(Change::Message(Box::new(message.clone())));
    }
    engine.publish_message(&message);
}

async fn post(
    engine: &Arc<Engine>,
    message: &Message,
    own: &PhoneNumber,
    keyword: Option<Keyword>,
    text: &Text,
) -> Vec<Outcome> {
    let Some(url) = &own.webhook_url else { return Vec::new() };
    let mut form = form(engine, message, keyword);
    for (key, value) in &text.params {
        form.retain(|(name, _)| name != key);
        form.push((key.clone(), value.clone()));
    }
    let token = engine.fresh_token();
    let calls = (0..text.repeat.clamp(1, 1_000)).map(|_| {
        engine.call(Call {
            url: url.clone(),
            fallback: own.fallback_url.clone(),
            form: form.clone(),
            token: token.clone(),
        })
    });
    futures::future::join_all(calls).await
}

/// Returns the parameters of the webhook request in Twilio's order.
fn form(engine: &Engine, message: &Message, keyword: Option<Keyword>) -> Vec<(String, String)> {
    let (sid, from) = (message.sid.clone(), message.from.clone().unwrap_or_default());
    let country = |number: &str| if number.starts_with("+1") { "US".to_owned() } else { String::new() };
    let mut form = vec![
        ("ToCountry".to_owned(), country(&message.to)),
        ("ToState".to_owned(), String::new()),
        ("SmsMessageSid".to_owned(), sid.clone()),
        ("NumMedia".to_owned(), message.media.len().to_string()),
        ("ToCity".to_owned(), String::new()),
        ("FromZip".to_owned(), String::new()),
        ("SmsSid".to_owned(), sid.clone()),
        ("FromState".to_owned(), String::new()),
        ("SmsStatus".to_owned(), "received".to_owned()),
        ("FromCity".to_owned(), String::new()),
        ("Body".to_owned(), message.body.clone()),
        ("FromCountry".to_owned(), country(&from)),
        ("To".to_owned(), message.to.clone()),
        ("ToZip".to_owned(), String::new()),
        ("NumSegments".to_owned(), segments::count(&message.body).to_string()),
        ("MessageSid".to_owned(), sid),
        ("AccountSid".to_owned(), engine.config.account_sid.clone()),
        ("From".to_owned(), from),
        ("ApiVersion".to_owned(), API_VERSION.to_owned()),
    ];
    if let Some(service) = &message.messaging_service_sid {
        form.push(("MessagingServiceSid".to_owned(), service.clone()));
    }
    for (number, media) in message.media.iter().enumerate() {
        form.push((format!("MediaUrl{number}"), media.url.clone()));
        form.push((format!("MediaContentType{number}"), media.content_type.clone()));
    }
    if let Some(keyword) = keyword.filter(|_| engine.config.advanced_opt_out) {
        form.push(("OptOutType".to_owned(), keyword.as_str().to_owned()));
    }
    form
}
