//! Before a late first create: a look into Twilio's list.
//!
//! A database that was restored from an earlier state holds messages as pending that were sent since, and nothing in it
//! tells them apart. What waited for `SEND_VERIFY_AFTER_SECONDS` or longer is therefore looked for before it is created: one
//! more call for each late send, and none for those that go at once.

use crate::App;
use common::clock;
use common::db::sends::{Claimed, Outcome, RETRIES_EXHAUSTED};
use common::domain::message::Status;
use common::telemetry::{self, Metric};
use common::twilio::{Sender, Sought};
use lookup::{Finding, Lookup, Missing, Twins};
use std::time::Duration;

/// How long a message waits for a twin that is being handed over this moment.
const TWIN_WAIT: Duration = Duration::from_secs(3);

/// Tells whether a message waited for so long that it may have been sent by a database that is no more.
pub(crate) fn is_late(app: &App, claim: &Claimed) -> bool {
    let waited = Duration::try_from(clock::now().duration_since(claim.wanted_at)).unwrap_or_default();
    waited >= app.verify_after
}

/// Looks for a message that is late, and returns what is to be recorded instead of creating it: nothing, if it is not
/// there. The look takes its time: whether there is a STOP by now is asked at the gate.
pub(crate) async fn instead_of_create(app: &App, claim: &Claimed) -> Option<Outcome> {
    match look(app, claim).await {
        Ok(Finding::Absent) => None,
        Ok(Finding::Adopted { twilio_sid }) => {
            telemetry::count(Metric::SendsFound, 1);
            tracing::warn!(message_id = %claim.message_id, twilio_sid, "Twilio has the message already");
            // Its status is recorded; this ends the claim.
            Some(Outcome::Accepted { twilio_sid, status: Status::Queued })
        }
        Ok(Finding::Undecided) => {
            Some(later(app, claim, TWIN_WAIT, "what Twilio has may be a twin's".to_owned()))
        }
        Err(error) => {
            let error = common::error::chain(&error);
            tracing::warn!(message_id = %claim.message_id, error, "a late message can't be looked for");
            Some(later(app, claim, pause(app, claim), format!("looking for it at Twilio first: {error}")))
        }
    }
}

async fn look(app: &App, claim: &Claimed) -> Result<Finding, lookup::LookupError> {
    let sender = sender(claim);
    let missing = Missing {
        message_id: claim.message_id,
        sought: Sought {
            to: claim.to.clone(),
            sender: sender.clone(),
            body: claim.message_content.clone(),
            num_media: claim.media_urls.len(),
            since: claim.wanted_at,
        },
    };
    let lookup = Lookup { db: &app.db, twilio: &app.twilio, renewals: &app.renewals, twins: Twins::Older };
    let findings = lookup.find(&claim.to, &sender, &[missing]).await?;
    Ok(findings.into_iter().next().unwrap_or(Finding::Absent))
}

/// The message waits for another look, if it still has the time for it.
fn later(app: &App, claim: &Claimed, pause: Duration, detail: String) -> Outcome {
    let next_attempt_at = clock::now() + pause;
    let end = claim.send_before.unwrap_or(claim.wanted_at + app.retry.max_age());
    if next_attempt_at >= end {
        return Outcome::Failed { by_twilio: false, error_code: RETRIES_EXHAUSTED.to_owned(), detail };
    }
    Outcome::Deferred { next_attempt_at, error_code: None, detail }
}

/// As long as after any try that Twilio did not process.
fn pause(app: &App, claim: &Claimed) -> Duration {
    app.retry.delay(claim.attempt_number)
}

/// Who sends a message.
pub(crate) fn sender(claim: &Claimed) -> Sender {
    match (&claim.from, &claim.messaging_service_sid) {
        (Some(number), _) => Sender::Number(number.clone()),
        (None, service) => Sender::MessagingService(service.clone().unwrap_or_default()),
    }
}
