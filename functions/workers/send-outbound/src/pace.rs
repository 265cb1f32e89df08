//! The pace and the holds of senders: what Twilio's answers mean for everything else of the same sender.

use crate::{App, RetryPolicy};
use common::clock;
use common::config::Env;
use common::db::senders::{self, Hold, HoldReason, WakeUp};
use common::db::sends::{Claimed, Pace};
use common::domain::pace::SenderRates;
use common::domain::phone::last_four;
use common::error::chain;
use common::queue::{Batch, DispatchMessage};
use common::telemetry::{self, Metric};
use common::twilio::{Retry, SendError, SendOutcome};
use std::collections::HashMap;
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
            // A chain does not go on here: the hold came between.
            wake(app, vec![(wake_up, Duration::ZERO)], &Hops::none()).await;
        }
        Err(error) => tracing::warn!(error = chain(&error), "the hold could not be ended"),
    }
}

/// How many wake-ups may follow from each other before a chain ends and the next sweep begins another one. Lambda's own
/// recursive loop detection is off for this function, since it ends a chain after about 16 invocations. A chain of this length
/// lasts for hours at a sender's pace, and hands over 200,000 messages at full speed, 20 for each wake-up.
const MAX_HOPS: u32 = 10_000;

/// Counts for each sender how many wake-ups led to what a batch asks for.
pub(crate) struct Hops(HashMap<String, u32>);

impl Hops {
    pub(crate) fn of(batch: &Batch<DispatchMessage>) -> Self {
        let mut hops = HashMap::new();
        for record in &batch.records {
            if let DispatchMessage::V2(wake_up) = &record.message {
                let longest = hops.entry(wake_up.sender.clone()).or_insert(0);
                *longest = wake_up.hops.max(*longest);
            }
        }
        Self(hops)
    }

    /// The first wake-up of a chain.
    pub(crate) fn none() -> Self {
        Self(HashMap::new())
    }

    /// Returns the number of the wake-up that follows, or `None` if its chain ends here.
    fn next(&self, sender: &str) -> Option<u32> {
        let next = self.0.get(sender).map_or(0, |hops| hops.saturating_add(1));
        (next <= MAX_HOPS).then_some(next)
    }
}

/// Puts wake-ups on the queue. Where SQS takes none, or a chain is too long, the next sweep makes others.
pub(crate) async fn wake(app: &App, wake_ups: Vec<(WakeUp, Duration)>, hops: &Hops) {
    let mut missed = Vec::new();
    let mut messages = Vec::new();
    for (WakeUp { sender, due_at }, delay) in wake_ups {
        match hops.next(&sender) {
            Some(hop) => {
                let message = DispatchMessage::wake_up(sender.clone(), due_at, hop);
                messages.push((sender, (message, clock::new_id().to_string(), delay)));
            }
            None => {
                telemetry::count(Metric::WakeUpsLimited, 1);
                let sender_ends = last_four(&sender);
                tracing::warn!(sender_ends, "too many wake-ups in a chain; the next sweep goes on");
                missed.push(sender);
            }
        }
    }
    let (senders, messages): (Vec<String>, Vec<_>) = messages.into_iter().unzip();
    if !messages.is_empty() {
        match Box::pin(app.publisher.send_all_later(&app.queue_url, &messages)).await {
            Ok(refused) => missed.extend(refused.into_iter().map(|position| senders[position].clone())),
            Err(error) => {
                tracing::warn!(error = chain(&error), "SQS did not take wake-ups; a sweep makes others");
                missed.extend(senders);
            }
        }
    }
    let missed: Vec<&str> = missed.iter().map(String::as_str).collect();
    if !missed.is_empty()
        && let Err(error) = senders::not_woken(&app.db, &missed).await
    {
        tracing::warn!(error = chain(&error), "could not clear wake_at");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_wake_ups_ends_at_its_limit() {
        let hops = |hops| Hops(HashMap::from([("+1".to_owned(), hops)]));
        assert_eq!(Hops::none().next("+1"), Some(0));
        assert_eq!(hops(0).next("+1"), Some(1));
        assert_eq!(hops(MAX_HOPS - 1).next("+1"), Some(MAX_HOPS));
        assert_eq!(hops(MAX_HOPS).next("+1"), None);
        assert_eq!(hops(u32::MAX).next("+1"), None);
        assert_eq!(hops(MAX_HOPS).next("+2"), Some(0), "another sender's chain is its own");
    }
}
