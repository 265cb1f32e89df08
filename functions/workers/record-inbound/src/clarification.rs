//! Clarifications: one text after a refusal in free text, or after a text that may be one. Off by default.
//! `common/docs/decisions/0034-consent-scopes-and-clarification.md` has the rules.

use crate::{App, Inbound, auto_reply};
use common::clock;
use common::config::Env;
use common::db::inbound::{NewInbound, OptOutChange};
use common::db::sends::{self, NewReply};
use common::domain::auto_reply::looks_automatic;
use common::domain::clarification::{MAX_DELAY, question_text, refusal_text};
use common::domain::keywords::OptOut;
use common::domain::opt_out::{OptOutAction, OptOutSource};
use common::domain::phone::InboundSender;
use common::queue::{Batch, WebhookMessage};
use std::time::Duration;

/// Clarifications, if they are on.
#[derive(Debug, Clone, Copy)]
pub struct Clarification {
    /// How long after the answered message one may be sent.
    valid: Duration,
}

impl Clarification {
    /// Reads `OPT_OUT_CLARIFICATION` (off), and `OPT_OUT_CLARIFICATION_SECONDS` (300): how long after the answered
    /// message it may be sent.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let switch = env.optional_text("OPT_OUT_CLARIFICATION")?;
        let valid =
            env.seconds("OPT_OUT_CLARIFICATION_SECONDS", 1..=MAX_DELAY.as_secs(), MAX_DELAY.as_secs());
        match switch.as_deref() {
            None | Some("off") => valid.map(|_| None),
            Some("on") => Some(Some(Self { valid: valid? })),
            Some(_) => {
                env.problem("OPT_OUT_CLARIFICATION must be on or off");
                None
            }
        }
    }
}

/// Returns whether clarifications are on and a text is a refusal without a keyword, or may be one. It gets no other
/// automatic reply.
pub(crate) fn is_due(app: &App, message: &NewInbound) -> bool {
    app.config.clarification.is_some()
        && (is_refusal(message) || (message.opt_out.is_none() && message.opt_out_result == OptOut::Unsure))
        && matches!(message.phone_number_canonical, InboundSender::Number(_))
        && !auto_reply::is_ours(app, message)
        && !looks_automatic(&message.message_content)
}

fn is_refusal(message: &NewInbound) -> bool {
    let refusal = (OptOutAction::OptOut, OptOutSource::FreeText);
    message.opt_out.as_ref().is_some_and(|OptOutChange { action, source, .. }| (*action, *source) == refusal)
}

/// Stores clarifications of the given messages and puts them on `[outbound]`. Duplicates are included, as for automatic
/// replies.
pub(crate) async fn send(
    app: &App,
    clarification: Clarification,
    batch: &mut Batch<WebhookMessage>,
    stored: &[Inbound],
) {
    let due: Vec<&Inbound> = stored.iter().filter(|inbound| is_due(app, &inbound.message)).collect();
    if due.is_empty() {
        return;
    }
    let text = |inbound: &Inbound| {
        let of = if is_refusal(&inbound.message) { refusal_text } else { question_text };
        of(inbound.language)
    };
    let new: Vec<NewReply> = due.iter().map(|inbound| auto_reply::reply(text(inbound), inbound)).collect();
    let created = sends::create_clarifications(&app.db, &new, clock::now(), clarification.valid).await;
    auto_reply::queue(app, batch, &due, &new, created).await;
}
