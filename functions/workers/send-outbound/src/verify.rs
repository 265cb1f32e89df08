//! Looks for messages in Twilio's list before creating them, if they may have been sent before a restore.
//!
//! A database that was restored from a backup holds messages as pending that have been sent since, and it cannot tell
//! which. Messages that waited for `SEND_VERIFY_AFTER_SECONDS` or longer are therefore looked for first. This is one
//! more request for each recipient of late messages, and none for the others.
//!
//! The restored database also lacks requests that were made after the backup, with their Idempotency-Keys. A caller
//! that repeats such a request creates a new message here. With `SEND_VERIFY_SINCE`, every message is looked for since
//! that time, so that the repetition gets the SID of the first message and is not sent.
//!
//! A listed message without an owner whose content may be ours defers the create. A clearly different text does not,
//! since a late message was probably never sent, unlike one whose create request had no response.

use crate::App;
use crate::record::Outcomes;
use common::clock;
use common::db::sends::{Claimed, RETRIES_EXHAUSTED, SendResult};
use common::domain::message::Status;
use common::service::lookup::{Lookup, LookupError, Missing, Presence};
use common::telemetry::{self, Metric};
use common::twilio::ExpectedMessage;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Returns whether a message may have been sent before a restore of the database: it waited for long, or
/// `SEND_VERIFY_SINCE` is set.
pub(crate) fn may_be_sent(app: &App, claim: &Claimed) -> bool {
    let waited = Duration::try_from(clock::now().duration_since(claim.wanted_at)).unwrap_or_default();
    app.config.verify_since.is_some() || waited >= app.config.verify_after
}

/// Looks for messages, with one list for each recipient and sender. Returns those that Twilio does not have, and
/// sends the outcomes of the others to be recorded. The gate checks afterwards whether the messages may still be sent.
pub(crate) async fn absent<'a>(
    app: &App,
    claims: Vec<&'a Claimed>,
    outcomes: &Outcomes<'a>,
) -> Vec<&'a Claimed> {
    let mut groups: BTreeMap<_, Vec<&Claimed>> = BTreeMap::new();
    for claim in claims {
        groups.entry((&claim.to, &claim.sender)).or_default().push(claim);
    }
    let lookups = groups.into_values().map(async |group| {
        let presences = look_up(app, &group).await;
        let mut absent = Vec::new();
        for (position, claim) in group.into_iter().enumerate() {
            let presence = presences.as_ref().map(|presences| presences.get(position));
            let outcome = telemetry::request(&claim.request_id).in_scope(|| outcome(app, claim, presence));
            match outcome {
                Some(outcome) => outcomes.send(claim, outcome),
                None => absent.push(claim),
            }
        }
        absent
    });
    futures::future::join_all(lookups).await.into_iter().flatten().collect()
}

/// Returns the outcome to record instead of creating the message, or `None` if Twilio does not have it.
fn outcome(
    app: &App,
    claim: &Claimed,
    presence: Result<Option<&Presence>, &LookupError>,
) -> Option<SendResult> {
    match presence {
        Ok(Some(Presence::Absent)) => None,
        Ok(Some(Presence::Adopted { twilio_sid })) => {
            telemetry::count(Metric::SendsFound, 1);
            tracing::warn!(message_id = %claim.message_id, %twilio_sid, "message found at Twilio before its create");
            // The status is recorded already; this outcome ends the claim.
            Some(SendResult::Accepted { twilio_sid: twilio_sid.clone(), status: Status::Queued })
        }
        Ok(Some(Presence::Undecided) | None) => {
            let detail = "Twilio has an unowned message that may be this one".to_owned();
            tracing::warn!(message_id = %claim.message_id, detail, "deferred a message that may be at Twilio");
            Some(match next_lookup(app, claim) {
                Some(next_attempt_at) => SendResult::Deferred { next_attempt_at, error_code: None, detail },
                // It may have been delivered, so it has not failed.
                None => SendResult::Parked { detail },
            })
        }
        Err(error) => {
            let error = common::error::chain(error);
            tracing::warn!(message_id = %claim.message_id, error, "could not look for a message at Twilio");
            let detail = format!("could not look for the message at Twilio: {error}");
            Some(match next_lookup(app, claim) {
                Some(next_attempt_at) => SendResult::Deferred { next_attempt_at, error_code: None, detail },
                None => {
                    let error_code = RETRIES_EXHAUSTED.to_owned();
                    SendResult::Failed { by_twilio: false, error_code, recipient: None, detail }
                }
            })
        }
    }
}

async fn look_up(app: &App, group: &[&Claimed]) -> Result<Vec<Presence>, LookupError> {
    let Some(first) = group.first() else { return Ok(Vec::new()) };
    let now = clock::now();
    let missing = |claim: &&Claimed| Missing {
        message_id: claim.message_id,
        sought: ExpectedMessage {
            to: claim.to.clone(),
            sender: claim.sender.clone(),
            body: claim.message_content.clone(),
            num_media: claim.media_urls.len(),
            since: app.config.verify_since.map_or(claim.wanted_at, |since| since.min(claim.wanted_at)),
            until: now,
        },
        is_attempted: false,
    };
    let missing: Vec<Missing> = group.iter().map(missing).collect();
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.config.renewals };
    lookup.find(&first.to, &first.sender, &missing).await
}

/// Returns when to look for a message again, with the delay of a retry, or `None` if it expires before.
fn next_lookup(app: &App, claim: &Claimed) -> Option<Timestamp> {
    let at = clock::now() + app.config.retry.delay(claim.attempt_number);
    let end = claim.send_before.unwrap_or(claim.wanted_at + app.config.retry.max_age());
    (at < end).then_some(at)
}
