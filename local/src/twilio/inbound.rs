//! A text from a handset: into the account's webhook, and what comes back of it.
//!
//! <https://www.twilio.com/docs/messaging/guides/webhook-request>

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::now;
use super::config::PhoneNumber;
use super::create::{MAX_VALIDITY_SECONDS, media, scope};
use super::exchange::Exchange;
use super::faults::Plan;
use super::message::{API_VERSION, Direction, Message, ReceivedKind, Status};
use super::opt_out::{Keyword, is_toll_free, keyword};
use super::store::Change;
use super::webhook::{Call, Outcome};
use super::{segments, twiml};

/// A text that a handset sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    /// One of the account's numbers; the first one when left out.
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) body: String,
    #[serde(default)]
    pub(super) media_urls: Vec<String>,
    /// Further parameters of the webhook, or others for those it has anyway.
    #[serde(default)]
    pub(super) params: BTreeMap<String, String>,
    /// How many times at once the same webhook is posted.
    #[serde(default = "once")]
    pub(super) repeat: usize,
}

fn once() -> usize {
    1
}

/// What became of a text.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sent {
    message_sid: String,
    message: Value,
    /// The opt-out word that the text was.
    opt_out: Option<&'static str>,
    /// The call to the webhook; with `repeat`, the last of them. Null when the number has none.
    webhook: Option<Outcome>,
    /// How many of the calls were answered with a 2xx.
    delivered: usize,
    /// What the handset was answered at once, by TwiML or by Twilio itself.
    replies: Vec<String>,
}

/// The sender does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not one of this account's numbers")]
pub(super) struct NotOurs(String);

/// Sends a text from `handset` to one of the account's numbers and waits for the webhook.
///
/// # Errors
/// [`NotOurs`] when the text is for another number.
pub(super) async fn send(exchange: &Arc<Exchange>, handset: &str, text: Text) -> Result<Sent, NotOurs> {
    let ours = match &text.to {
        Some(to) => exchange.config.number(to).ok_or_else(|| NotOurs(to.clone()))?,
        None => exchange.config.numbers.first().ok_or_else(|| NotOurs(String::new()))?,
    };
    let message = incoming(exchange, handset, &ours.number, &text);
    exchange.store().record(Change::Message(Box::new(message.clone())));
    exchange.publish_message(&message);
    let word = keyword(&text.body, is_toll_free(&ours.number));
    let mut replies = answer_keyword(exchange, handset, &ours.number, word);
    let outcomes = post(exchange, &message, ours, word, &text).await;
    let failed = outcomes.iter().find(|outcome| !outcome.delivered);
    if let Some(failed) = failed {
        let code = if failed.status.is_some() { 11200 } else { 11205 };
        let marked = exchange.store().update(&message.sid, |message| {
            message.error_code = Some(code);
            true
        });
        marked.iter().for_each(|message| exchange.publish_message(message));
    }
    for body in outcomes.iter().flat_map(|outcome| twiml::replies(&outcome.answer)) {
        exchange.reply(&ours.number, handset, &body, ReceivedKind::Reply);
        replies.push(body);
    }
    let message = exchange.store().get(&message.sid).cloned().unwrap_or(message);
    Ok(Sent {
        message: exchange.resource(&message),
        message_sid: message.sid,
        opt_out: word.map(Keyword::as_str),
        delivered: outcomes.iter().filter(|outcome| outcome.delivered).count(),
        webhook: outcomes.into_iter().last(),
        replies,
    })
}

fn incoming(exchange: &Exchange, handset: &str, ours: &str, text: &Text) -> Message {
    let at = now();
    Message {
        sid: exchange.fresh_sid(if text.media_urls.is_empty() { "SM" } else { "MM" }),
        direction: Direction::Inbound,
        from: Some(handset.to_owned()),
        to: ours.to_owned(),
        body: text.body.clone(),
        media: text.media_urls.iter().map(|url| media(exchange, url)).collect(),
        messaging_service_sid: exchange.config.service_of(ours).map(|service| service.sid.clone()),
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

/// Keeps the opt-out and answers the word. START and STOP are answered when they change something.
fn answer_keyword(exchange: &Arc<Exchange>, handset: &str, ours: &str, word: Option<Keyword>) -> Vec<String> {
    let Some(word) = word else { return Vec::new() };
    let covered = scope(&exchange.config, ours);
    let changes = {
        let mut store = exchange.store();
        let is_out = store.opted_out(handset, covered);
        let changes = match word {
            Keyword::Stop => !is_out,
            Keyword::Start => is_out,
            Keyword::Help => true,
        };
        if changes && word != Keyword::Help {
            let (handset, scope) = (handset.to_owned(), covered.to_owned());
            store.record(Change::OptOut { handset, scope, out: word == Keyword::Stop });
        }
        changes
    };
    if !changes {
        return Vec::new();
    }
    let notice = word.notice(is_toll_free(ours));
    exchange.reply(ours, handset, notice, ReceivedKind::Notice);
    exchange.publish_change();
    vec![notice.to_owned()]
}

async fn post(
    exchange: &Arc<Exchange>,
    message: &Message,
    ours: &PhoneNumber,
    word: Option<Keyword>,
    text: &Text,
) -> Vec<Outcome> {
    let Some(url) = &ours.webhook_url else { return Vec::new() };
    let mut form = form(exchange, message, word);
    for (key, value) in &text.params {
        form.retain(|(name, _)| name != key);
        form.push((key.clone(), value.clone()));
    }
    let token = exchange.fresh_token();
    let calls = (0..text.repeat.clamp(1, 1_000)).map(|_| {
        exchange.call(Call {
            url: url.clone(),
            fallback: ours.fallback_url.clone(),
            form: form.clone(),
            token: token.clone(),
        })
    });
    futures::future::join_all(calls).await
}

/// The webhook's form, in the order in which Twilio sends it.
fn form(exchange: &Exchange, message: &Message, word: Option<Keyword>) -> Vec<(String, String)> {
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
        ("AccountSid".to_owned(), exchange.config.account_sid.clone()),
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
    if let Some(word) = word.filter(|_| exchange.config.advanced_opt_out) {
        form.push(("OptOutType".to_owned(), word.as_str().to_owned()));
    }
    form
}
