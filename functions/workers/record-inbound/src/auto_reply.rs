//! Automatic replies: off unless configured, at most one per conversation and period, and none to opt-outs, short codes
//! and machines.

use crate::{App, Inbound, clarification};
use common::clock;
use common::config::Env;
use common::db::DbError;
use common::db::inbound::NewInbound;
use common::db::sends::{self, NewReply, StoredReply};
use common::domain::ids::MessageId;
use common::domain::language::Language;
use common::domain::sender::Sender;
use common::domain::{auto_reply, segments};
use common::queue::{Batch, DispatchMessage, WebhookMessage};
use common::telemetry::{self, Metric, traces};
use std::time::Duration;

/// The maximum length of a message body at Twilio.
const MAX_CHARACTERS: usize = 1600;

/// The texts of automatic replies by language, and how often they are sent.
#[derive(Debug, Clone)]
pub struct AutoReplies {
    en: Option<String>,
    es: Option<String>,
    pt: Option<String>,
    default: String,
    period: Duration,
}

impl AutoReplies {
    /// Reads `AUTO_REPLY_EN`, `AUTO_REPLY_ES` and `AUTO_REPLY_PT`. If none is set, there are no automatic replies. For
    /// a language without a text, and for an unknown language, the first of them is sent. `AUTO_REPLY_PERIOD_SECONDS`
    /// (86 400) is the minimum time between two automatic replies in a conversation.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let mut text = |name| {
            let text = env.optional_text(name)?;
            if text.as_ref().is_some_and(|text| text.chars().count() > MAX_CHARACTERS) {
                env.problem(format!("{name} has more than {MAX_CHARACTERS} characters"));
            }
            Some(text)
        };
        let (en, es, pt) = (text("AUTO_REPLY_EN")?, text("AUTO_REPLY_ES")?, text("AUTO_REPLY_PT")?);
        let period = env.seconds("AUTO_REPLY_PERIOD_SECONDS", 1..=31_536_000, 86_400)?;
        let Some(default) = en.clone().or_else(|| es.clone()).or_else(|| pt.clone()) else {
            return Some(None);
        };
        Some(Some(Self { en, es, pt, default, period }))
    }

    fn text(&self, language: Language) -> &str {
        let text = match language {
            Language::En => &self.en,
            Language::Es => &self.es,
            Language::Pt => &self.pt,
            Language::Unknown => &None,
        };
        text.as_ref().unwrap_or(&self.default)
    }
}

/// Stores automatic replies to the given messages and puts them on `[outbound]`.
///
/// Duplicates are included: the function may have died after storing the message and before storing its reply. Postgres
/// does not store a second reply.
pub(crate) async fn send(
    app: &App,
    replies: &AutoReplies,
    batch: &mut Batch<WebhookMessage>,
    stored: &[Inbound],
) {
    let due: Vec<&Inbound> = stored
        .iter()
        .filter(|Inbound { message, .. }| {
            message.opt_out.is_none()
                && !is_ours(app, message)
                && !clarification::is_due(app, message)
                && auto_reply::may_be_answered(&message.phone_number_canonical, &message.message_content)
        })
        .collect();
    if due.is_empty() {
        return;
    }
    let new: Vec<NewReply> =
        due.iter().map(|inbound| reply(replies.text(inbound.language), inbound)).collect();
    let created = sends::create_replies(&app.db, &new, clock::now(), replies.period).await;
    queue(app, batch, &due, &new, created).await;
}

/// Returns whether a message comes from one of our numbers, which get no replies.
pub(crate) fn is_ours(app: &App, message: &NewInbound) -> bool {
    let sender = &message.phone_number_canonical;
    app.config.phone_numbers.iter().any(|number| number == sender.canonical())
        || message.from_number == message.to_number
}

/// Puts the stored ones of new replies on `[outbound]`, or fails the records of the answered messages.
pub(crate) async fn queue(
    app: &App,
    batch: &mut Batch<WebhookMessage>,
    due: &[&Inbound],
    new: &[NewReply],
    created: Result<Vec<StoredReply>, DbError>,
) {
    match created {
        Ok(created) => {
            telemetry::count(Metric::AutoReplies, created.len());
            let sender = |id| {
                let reply = new.iter().zip(due).find(|(new, _)| new.id == id)?;
                Some(Sender::from(reply.1.message.to_number.as_str()))
            };
            enqueue(app, created, sender).await;
        }
        Err(error) => {
            for Inbound { record, .. } in due {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
        }
    }
}

/// Returns the row of a reply.
pub(crate) fn reply(text: &str, inbound: &Inbound) -> NewReply {
    let cost = segments::count(text);
    NewReply {
        id: clock::new_id().into(),
        in_reply_to: inbound.message.twilio_sid.clone(),
        text: text.to_owned(),
        encoding: cost.encoding,
        // 1600 characters are at most about 50 segments.
        segments: i32::try_from(cost.segments).unwrap_or(i32::MAX),
        trace_context: traces::to_store(&inbound.message.request_id),
    }
}

/// Puts replies on `[outbound]`. If SQS refuses them, the next run of `retry-sends` wakes their senders.
async fn enqueue(app: &App, created: Vec<StoredReply>, sender: impl Fn(MessageId) -> Option<Sender>) {
    let message = |reply: StoredReply| (DispatchMessage::new(reply.id, sender(reply.id)), reply.request_id);
    let messages: Vec<_> = created.into_iter().map(message).collect();
    match app.publisher.send_all(&app.config.outbound_queue_url, &messages).await {
        Ok(refused) if refused.is_empty() => {}
        Ok(refused) => tracing::warn!(replies = refused.len(), "could not queue automatic replies"),
        Err(error) => {
            tracing::warn!(error = common::error::chain(&error), "could not queue automatic replies");
        }
    }
}
