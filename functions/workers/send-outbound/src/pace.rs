//! The pace and holds of senders: how a response of Twilio affects the other messages of the same sender.

use crate::{App, RetryPolicy};
use common::clock;
use common::config::Env;
use common::db::senders::{self, Hold, WakeUp};
use common::db::sends::{Claimed, SendPace};
use common::domain::pace::{HoldReason, PerSender, SenderLimits};
use common::domain::phone::last_four;
use common::domain::sender::Sender;
use common::error::chain;
use common::queue::{Batch, DispatchMessage};
use common::service::wake_ups::{self, QueuedWakeUp};
use common::telemetry::{self, Metric};
use common::twilio::{Retry, SendError, SendOutcome};
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Reads the limits of senders, `SENDER_BURST_SEGMENTS` (30) and `SENDER_HOLD_SECONDS` (300). A hold is at most as long
/// as the longest retry delay.
pub(crate) fn from_env(env: &mut Env<'_>, retry: Option<&RetryPolicy>) -> Option<SendPace> {
    let limits = limits(env);
    let burst = env.number("SENDER_BURST_SEGMENTS", 2..=100_000, 30);
    let hold = env.seconds("SENDER_HOLD_SECONDS", 1..=86_400, 300);
    let (hold, retry) = (hold?, retry?);
    let hold = hold.min(retry.longest_delay().max(Duration::from_secs(1)));
    Some(SendPace { limits: limits?, burst: u32::try_from(burst?).ok()?, hold, max_age: retry.max_age() })
}

/// Reads `SENDER_SEGMENTS_PER_SECOND`, `SENDER_MMS_PER_SECOND`, `SENDER_SEGMENTS_PER_DAY` and
/// `SENDER_10DLC_REGISTRATION`, whose limits apply where the others have none.
fn limits(env: &mut Env<'_>) -> Option<SenderLimits> {
    let segments_per_second = env.parse_or("SENDER_SEGMENTS_PER_SECOND", PerSender::default());
    let mms_per_second = env.parse_or("SENDER_MMS_PER_SECOND", PerSender::default());
    let segments_per_day = env.parse_or("SENDER_SEGMENTS_PER_DAY", PerSender::default());
    let registration = env.optional_parse("SENDER_10DLC_REGISTRATION");
    Some(SenderLimits {
        segments_per_second: segments_per_second?,
        mms_per_second: mms_per_second?,
        segments_per_day: segments_per_day?,
        registration: registration?,
    })
}

/// Reports the senders whose messages begin to wait for the next day.
pub(crate) fn report_filled(filled: &[(Sender, Timestamp)]) {
    telemetry::count(Metric::DailyLimitsReached, filled.len());
    for (sender, until) in filled {
        let sender_ends = last_four(sender.as_str());
        tracing::warn!(sender_ends, %until, "daily limit reached, messages wait for the next day");
    }
}

/// Returns how long and why an error holds the whole sender.
fn hold(app: &App, claim: &Claimed, error: &SendError) -> Option<(Duration, HoldReason)> {
    match (error.retry(), error.outcome()) {
        (Retry::HoldSender, outcome) => Some((app.config.retry.pause(claim, outcome), HoldReason::QueueFull)),
        (Retry::AfterConfigurationFix, _) => Some((app.config.pace.hold, HoldReason::Configuration)),
        (Retry::Backoff { .. }, SendOutcome::NotProcessed { retry_after: Some(pause) }) => {
            Some((pause, HoldReason::Limited))
        }
        _ => None,
    }
}

/// Holds a message's sender, or ends its hold, according to Twilio's response.
pub(crate) async fn update_hold(app: &App, claim: &Claimed, error: Option<&SendError>) {
    let Some((pause, reason)) = error.and_then(|error| hold(app, claim, error)) else {
        if claim.is_probe && error.is_none_or(is_about_the_message) {
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
    tracing::warn!(?reason, code = hold.code, until = %hold.until, "holding the sender");
    if let Err(error) = senders::hold(&app.db, &claim.sender, &hold).await {
        tracing::warn!(error = chain(&error), "could not hold the sender");
    }
}

/// Returns whether an error is about the message itself, so that its sender works again.
fn is_about_the_message(error: &SendError) -> bool {
    matches!(error.retry(), Retry::Never | Retry::CreateAgain | Retry::WaitForWindow)
}

async fn release(app: &App, claim: &Claimed) {
    match senders::release(&app.db, &claim.sender).await {
        Ok(()) => {
            tracing::info!("released the sender");
            let wake_up = WakeUp { sender: claim.sender.clone(), due_at: clock::now() };
            // A new chain: the hold interrupted the previous one.
            wake(app, vec![(wake_up, Duration::ZERO)], &Hops::none()).await;
        }
        Err(error) => tracing::warn!(error = chain(&error), "could not release the sender"),
    }
}

/// The maximum length of a chain of wake-ups, after which the next sweep starts another one. Lambda's recursive loop
/// detection is off for this function, since it stops a chain after about 16 invocations. A chain of this length lasts
/// for hours at a sender's pace, and sends 200,000 messages at full speed, 20 for each wake-up.
const MAX_HOPS: u32 = 10_000;

/// The number of wake-ups that led to a batch, by sender.
pub(crate) struct Hops(HashMap<Sender, u32>);

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

    /// Returns the number of the next wake-up, or `None` if the chain ends.
    fn next(&self, sender: &Sender) -> Option<u32> {
        let next = self.0.get(sender).map_or(0, |hops| hops.saturating_add(1));
        (next <= MAX_HOPS).then_some(next)
    }
}

/// Puts wake-ups on the queue. The next sweep wakes the senders whose chain is too long or whose wake-ups SQS refuses.
pub(crate) async fn wake(app: &App, due: Vec<(WakeUp, Duration)>, hops: &Hops) {
    let mut wake_ups = Vec::with_capacity(due.len());
    let mut limited = Vec::new();
    for (wake_up, delay) in due {
        match hops.next(&wake_up.sender) {
            Some(hops) => wake_ups.push(QueuedWakeUp { wake_up, delay, hops }),
            None => {
                telemetry::count(Metric::WakeUpsLimited, 1);
                let sender_ends = last_four(wake_up.sender.as_str());
                tracing::warn!(sender_ends, "wake-up chain limit reached");
                limited.push(wake_up.sender);
            }
        }
    }
    let limited: Vec<&Sender> = limited.iter().collect();
    if let Err(error) = wake_ups::clear(&app.db, &limited).await {
        tracing::warn!(error = chain(&error), "could not clear wake_at");
    }
    if let Err(error) = wake_ups::publish(&app.db, &app.publisher, &app.config.queue_url, wake_ups).await {
        tracing::warn!(error = chain(&error), "could not queue wake-ups");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_limit_names_its_variable() {
        let lookup = |name: &str| {
            let value = match name {
                "SENDER_SEGMENTS_PER_SECOND" => "fast",
                "SENDER_MMS_PER_SECOND" => "1,+1203=0",
                "SENDER_SEGMENTS_PER_DAY" => "MG1=0.5",
                "SENDER_10DLC_REGISTRATION" => "101",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let mut env = Env::new(&lookup);
        assert_eq!(limits(&mut env), None);
        let error = env.finish(|| None::<()>).unwrap_err().to_string();
        for name in [
            "SENDER_SEGMENTS_PER_SECOND",
            "SENDER_MMS_PER_SECOND",
            "SENDER_SEGMENTS_PER_DAY",
            "SENDER_10DLC_REGISTRATION",
        ] {
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn a_chain_of_wake_ups_ends_at_its_limit() {
        let hops = |hops| Hops(HashMap::from([(Sender::from("+1"), hops)]));
        assert_eq!(Hops::none().next(&"+1".into()), Some(0));
        assert_eq!(hops(0).next(&"+1".into()), Some(1));
        assert_eq!(hops(MAX_HOPS - 1).next(&"+1".into()), Some(MAX_HOPS));
        assert_eq!(hops(MAX_HOPS).next(&"+1".into()), None);
        assert_eq!(hops(u32::MAX).next(&"+1".into()), None);
        assert_eq!(hops(MAX_HOPS).next(&"+2".into()), Some(0), "senders have separate chains");
    }
}
