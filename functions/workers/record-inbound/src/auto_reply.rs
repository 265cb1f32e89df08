//! The answers that the service owes by itself: off unless configured, at most one per conversation and period,
//! never to an opt-out word, a short code or another machine.

use crate::{App, Kept};
use common::clock;
use common::config::Env;
use common::db::sends::{self, NewReply};
use common::domain::{auto_reply, phone::Sender, segments};
use common::queue::{Batch, DispatchMessage, WebhookMessage};
use common::telemetry::{self, Metric};
use std::time::Duration;

/// The longest text that Twilio takes.
const MAX_CHARACTERS: usize = 1600;

/// What is answered, by language, and how often.
#[derive(Debug, Clone)]
pub struct AutoReplies {
    en: Option<String>,
    es: Option<String>,
    pt: Option<String>,
    default: String,
    period: Duration,
}

impl AutoReplies {
    /// Reads `AUTO_REPLY_EN`, `AUTO_REPLY_ES` and `AUTO_REPLY_PT`: without any of them there are no replies. Who wrote
    /// in a language that has none, or that is not known, gets the first of them that there is. `AUTO_REPLY_PERIOD_SECONDS` (86 400) is
    /// the time for which a conversation gets no second one.
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

    fn text(&self, language: &str) -> &str {
        let text = match language {
            "en" => &self.en,
            "es" => &self.es,
            "pt" => &self.pt,
            _ => &None,
        };
        text.as_ref().unwrap_or(&self.default)
    }
}

/// Stores the answers that stored messages call for and puts them on `[outbound]`.
///
/// A duplicate is looked at again: if the function died between storing the message and this, its answer is still
/// owed, and Postgres knows whether it is.
pub(crate) async fn answer(
    app: &App,
    replies: &AutoReplies,
    batch: &mut Batch<WebhookMessage>,
    stored: &[Kept],
) {
    let owed: Vec<&Kept> = stored
        .iter()
        .filter(|Kept { message, .. }| {
            let sender = Sender::from_twilio(&message.from_number);
            let is_ours = app.phone_numbers.contains(&message.phone_number_canonical)
                || message.from_number == message.to_number;
            message.opt_out.is_none()
                && !is_ours
                && auto_reply::may_be_answered(&sender, &message.message_content)
        })
        .collect();
    if owed.is_empty() {
        return;
    }
    let new: Vec<NewReply> = owed.iter().map(|kept| reply(replies, kept)).collect();
    match sends::create_replies(&app.db, &new, clock::now(), replies.period).await {
        Ok(created) => {
            telemetry::count(Metric::AutoReplies, created.len());
            enqueue(app, created).await;
        }
        Err(error) => {
            for Kept { record, .. } in owed {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
        }
    }
}

fn reply(replies: &AutoReplies, kept: &Kept) -> NewReply {
    let text = replies.text(&kept.language);
    let cost = segments::count(text);
    NewReply {
        id: clock::new_id(),
        in_reply_to: kept.message.twilio_sid.clone(),
        text: text.to_owned(),
        encoding: cost.encoding.as_str(),
        // 1600 characters are at most some 50 segments.
        segments: i32::try_from(cost.segments).unwrap_or(i32::MAX),
    }
}

/// Puts replies on their queue; those that don't get there are found by the next sweep.
async fn enqueue(app: &App, created: Vec<(uuid::Uuid, String)>) {
    let messages: Vec<_> =
        created.into_iter().map(|(id, request_id)| (DispatchMessage::new(id), request_id)).collect();
    match app.publisher.send_all(&app.outbound_queue_url, &messages).await {
        Ok(missed) if missed.is_empty() => {}
        Ok(missed) => tracing::warn!(replies = missed.len(), "SQS did not take replies; a sweep will"),
        Err(error) => {
            tracing::warn!(error = common::error::chain(&error), "replies wait for the next sweep");
        }
    }
}
