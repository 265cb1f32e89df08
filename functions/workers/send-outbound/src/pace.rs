//! The pace and the holds of senders: what Twilio's answers mean for everything else of the same sender.

use crate::{App, RetryPolicy};
use common::clock;
use common::config::Env;
use common::db::senders::{self, Hold, HoldReason, WakeUp};
use common::db::sends::{Claimed, Pace};
use common::domain::pace::SenderRates;
use common::error::chain;
use common::queue::DispatchMessage;
use common::telemetry::{self, Metric};
use common::twilio::{Retry, SendError, SendOutcome};
use std::time::Duration;

/// Reads `SENDER_SEGMENTS_PER_SECOND`, `SENDER_BURST_SEGMENTS` (30) and `SENDER_HOLD_SECONDS` (300). No hold is longer than
/// the longest delay between tries: whatever makes these short makes holds short.
pub(crate) fn from_env(env: &mut Env<'_>, retry: Option<&RetryPolicy>) -> Option<Pace> {
    let rates = env.parse_or("SENDER_SEGMENTS_PER_SECOND", SenderRates::default());
    let burst = env.number("SENDER_BURST_SEGMENTS", 2..=100_000, 30);
    let hold = env.seconds("SENDER_HOLD_SECONDS", 1..=86_400, 300);
    let (hold, retry) = (hold?, retry?);
    let hold = hold.min(retry.longest_delay().max(Duration::from_secs(1)));
    Some(Pace { rates: rates?, burst: u32::try_from(burst?).ok()?, hold, max_age: retry.max_age() })
}

/// How long, and why, the answer to one message keeps its whole sender from sending.
fn hold(app: &App, claim: &Claimed, error: &SendError) -> Option<(Duration, HoldReason)> {
    match (error.retry(), error.outcome()) {
        (Retry::HoldSender, outcome) => Some((app.retry.pause(claim, outcome), HoldReason::QueueFull)),
        (Retry::AfterRepair, _) => Some((app.pace.hold, HoldReason::Configuration)),
        (Retry::Backoff { .. }, SendOutcome::NotProcessed { retry_after: Some(pause) }) => {
            Some((pause, HoldReason::Limited))
        }
        _ => None,
    }
}

/// Holds a message's sender, or ends its hold, by what Twilio answered.
pub(crate) async fn after(app: &App, claim: &Claimed, error: Option<&SendError>) {
    let Some((pause, reason)) = error.and_then(|error| hold(app, claim, error)) else {
        if claim.is_probe && error.is_none_or(got_through) {
            release(app, claim).await;
        }
        return;
    };
    let hold = Hold {
        until: clock::now() + pause,
        reason,
        code: error.and_then(SendError::code).map(|code| code.to_string()),
        by_probe: claim.is_probe,
    };
    telemetry::count(Metric::SendersHeld, 1);
    tracing::warn!(?reason, code = hold.code, until = %hold.until, "the sender of this message is held");
    if let Err(error) = senders::hold(&app.db, &claim.sender, &hold).await {
        tracing::warn!(error = chain(&error), "the sender could not be held");
    }
}

/// Whether Twilio looked at the message itself, so that nothing is wrong with its sender any more.
fn got_through(error: &SendError) -> bool {
    matches!(error.retry(), Retry::Never | Retry::CreateAnew | Retry::WaitForWindow)
}

async fn release(app: &App, claim: &Claimed) {
    match senders::release(&app.db, &claim.sender).await {
        Ok(()) => {
            tracing::info!("the sender of this message is no longer held");
            let wake_up = WakeUp { sender: claim.sender.clone(), due_at: clock::now() };
            wake(app, vec![(wake_up, Duration::ZERO)]).await;
        }
        Err(error) => tracing::warn!(error = chain(&error), "the hold could not be ended"),
    }
}

/// Puts wake-ups on the queue. Where SQS takes none, the next sweep makes others.
pub(crate) async fn wake(app: &App, wake_ups: Vec<(WakeUp, Duration)>) {
    if wake_ups.is_empty() {
        return;
    }
    let messages: Vec<_> = wake_ups
        .iter()
        .map(|(wake_up, delay)| {
            let message = DispatchMessage::wake_up(wake_up.sender.clone(), wake_up.due_at);
            (message, clock::new_id().to_string(), *delay)
        })
        .collect();
    let put = Box::pin(app.publisher.send_all_later(&app.queue_url, &messages)).await;
    let missed: Vec<usize> = match put {
        Ok(missed) => missed,
        Err(error) => {
            tracing::warn!(error = chain(&error), "SQS did not take wake-ups; a sweep makes others");
            (0..wake_ups.len()).collect()
        }
    };
    let missed: Vec<&str> = missed.into_iter().map(|position| wake_ups[position].0.sender.as_str()).collect();
    if !missed.is_empty()
        && let Err(error) = senders::not_woken(&app.db, &missed).await
    {
        tracing::warn!(error = chain(&error), "that could not be noted");
    }
}
