//! Before a late create: a look into Twilio's list.
//!
//! A database that was restored from an earlier state holds messages as pending that were sent since, and nothing in it
//! tells them apart. What waited for `SEND_VERIFY_AFTER_SECONDS` or longer is therefore looked for before it is created: one
//! more call for each recipient of late messages, and none for those that go at once.
//!
//! A message of the list that no attempt owns and whose content may be ours defers the create. A clearly different text does
//! not: unlike an unanswered create, a late message was probably never handed over.

use crate::App;
use crate::record::Outcomes;
use common::clock;
use common::db::sends::{Claimed, Outcome, RETRIES_EXHAUSTED};
use common::domain::message::Status;
use common::telemetry::{self, Metric};
use common::twilio::{Sender, Sought};
use jiff::Timestamp;
use lookup::{Finding, Lookup, LookupError, Missing};
use std::collections::BTreeMap;
use std::time::Duration;

/// Tells whether a message waited for so long that it may have been sent by a database that is no more.
pub(crate) fn is_late(app: &App, claim: &Claimed) -> bool {
    let waited = Duration::try_from(clock::now().duration_since(claim.wanted_at)).unwrap_or_default();
    waited >= app.verify_after
}

/// Looks for late messages, those of one recipient and sender in one list. Returns those that Twilio does not have, and has
/// the outcome of the others recorded. The look takes its time: whether they may still be sent is asked at the gate.
pub(crate) async fn absent<'a>(
    app: &App,
    late: Vec<&'a Claimed>,
    outcomes: &Outcomes<'a>,
) -> Vec<&'a Claimed> {
    let mut groups: BTreeMap<_, Vec<&Claimed>> = BTreeMap::new();
    for claim in late {
        groups.entry((&claim.to, &claim.from, &claim.messaging_service_sid)).or_default().push(claim);
    }
    let looks = groups.into_values().map(async |group| {
        let findings = look(app, &group).await;
        let mut absent = Vec::new();
        for (position, claim) in group.into_iter().enumerate() {
            let finding = findings.as_ref().map(|findings| findings.get(position));
            let concluded = telemetry::request(&claim.request_id).in_scope(|| conclude(app, claim, finding));
            match concluded {
                Some(outcome) => outcomes.tell(claim, outcome),
                None => absent.push(claim),
            }
        }
        absent
    });
    futures::future::join_all(looks).await.into_iter().flatten().collect()
}

/// Returns what is to be recorded instead of creating a message: nothing, if Twilio does not have it.
fn conclude(app: &App, claim: &Claimed, finding: Result<Option<&Finding>, &LookupError>) -> Option<Outcome> {
    match finding {
        Ok(Some(Finding::Absent)) => None,
        Ok(Some(Finding::Adopted { twilio_sid })) => {
            telemetry::count(Metric::SendsFound, 1);
            tracing::warn!(message_id = %claim.message_id, twilio_sid, "Twilio has the message already");
            // Its status is recorded; this ends the claim.
            Some(Outcome::Accepted { twilio_sid: twilio_sid.clone(), status: Status::Queued })
        }
        Ok(Some(Finding::Undecided) | None) => {
            let detail = "Twilio has a message without an owner that may be this one".to_owned();
            tracing::warn!(message_id = %claim.message_id, detail, "a late message is not sent now");
            Some(match next_look(app, claim) {
                Some(next_attempt_at) => Outcome::Deferred { next_attempt_at, error_code: None, detail },
                // It may be on the handset, so it has not failed either.
                None => Outcome::Parked { detail },
            })
        }
        Err(error) => {
            let error = common::error::chain(error);
            tracing::warn!(message_id = %claim.message_id, error, "a late message can't be looked for");
            let detail = format!("looking for it at Twilio first: {error}");
            Some(match next_look(app, claim) {
                Some(next_attempt_at) => Outcome::Deferred { next_attempt_at, error_code: None, detail },
                None => {
                    let error_code = RETRIES_EXHAUSTED.to_owned();
                    Outcome::Failed { by_twilio: false, error_code, detail }
                }
            })
        }
    }
}

async fn look(app: &App, group: &[&Claimed]) -> Result<Vec<Finding>, LookupError> {
    let Some(first) = group.first() else { return Ok(Vec::new()) };
    let sender = sender(first);
    let now = clock::now();
    let missing = |claim: &&Claimed| Missing {
        message_id: claim.message_id,
        sought: Sought {
            to: claim.to.clone(),
            sender: sender.clone(),
            body: claim.message_content.clone(),
            num_media: claim.media_urls.len(),
            since: claim.wanted_at,
            until: now,
        },
        is_attempted: false,
    };
    let missing: Vec<Missing> = group.iter().map(missing).collect();
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.renewals };
    lookup.find(&first.to, &sender, &missing).await
}

/// When a message is looked for again: after as long as any try that Twilio did not process, if it still has the time.
fn next_look(app: &App, claim: &Claimed) -> Option<Timestamp> {
    let at = clock::now() + app.retry.delay(claim.attempt_number);
    let end = claim.send_before.unwrap_or(claim.wanted_at + app.retry.max_age());
    (at < end).then_some(at)
}

/// Who sends a message.
pub(crate) fn sender(claim: &Claimed) -> Sender {
    match (&claim.from, &claim.messaging_service_sid) {
        (Some(number), _) => Sender::Number(number.clone()),
        (None, service) => Sender::MessagingService(service.clone().unwrap_or_default()),
    }
}
