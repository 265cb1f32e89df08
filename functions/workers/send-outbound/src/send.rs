//! One message's way to Twilio, once it is ours.

use crate::gate::Gate;
use crate::record::{self, Outcomes};
use crate::{App, pace, verify};
use common::clock;
use common::db::sends::{self, Claimed, OPTED_OUT, Outcome, Passage, RETRIES_EXHAUSTED};
use common::domain::message::Status;
use common::telemetry::{self, Metric};
use common::twilio::{
    CreateMessage, ErrorClass, Message, Retry, SendError, SendOutcome, status_callback_url,
};
use std::time::Duration;
use tracing::Instrument;

/// Hands messages over, all at once, and records what came of each. What is late is looked for first, which keeps nothing
/// else waiting.
pub(crate) async fn send_all(app: &App, claims: &[Claimed]) {
    let (outcomes, ended) = Outcomes::channel();
    // Whoever records goes on until `outcomes` is gone.
    let sends = async move { hand_over(app, claims, &outcomes).await };
    tokio::join!(sends, record::as_they_come(app, ended));
}

async fn hand_over<'a>(app: &App, claims: &'a [Claimed], outcomes: &Outcomes<'a>) {
    let (late, prompt): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| verify::is_late(app, claim));
    let look = async {
        let absent = verify::absent(app, late, outcomes).await;
        send_together(app, &absent, outcomes).await;
    };
    tokio::join!(send_together(app, &prompt, outcomes), look);
}

/// Hands over what passes the gate together.
async fn send_together<'a>(app: &App, claims: &[&'a Claimed], outcomes: &Outcomes<'a>) {
    if claims.is_empty() {
        return;
    }
    match sends::pass_gate(&app.db, claims, clock::now()).await {
        Ok((passages, held)) => {
            let gate = Gate::passed();
            let passage =
                |claim: &Claimed| passages.get(&claim.message_id).copied().unwrap_or(Passage::Settled);
            let calls = claims.iter().filter(|claim| passage(claim) == Passage::Go).count();
            let sends = claims.iter().map(|claim| {
                send(app, claim, &gate, passage(claim), outcomes)
                    .instrument(telemetry::request(&claim.request_id))
            });
            tokio::join!(gate.hold(held, calls), futures::future::join_all(sends));
        }
        Err(error) => {
            let detail = common::error::chain(&error);
            tracing::error!(error = detail, "not sent: it can't be told whether there is a STOP");
            for claim in claims {
                outcomes.tell(claim, app.retry.not_begun(claim, &detail));
            }
        }
    }
}

/// Hands a message over, and tells what came of it, for the message and for its sender.
async fn send<'a>(app: &App, claim: &'a Claimed, gate: &Gate, passage: Passage, outcomes: &Outcomes<'a>) {
    let answer = match Answer::refused(passage) {
        Some(refused) => Ok(refused),
        None => create(app, claim, gate).await,
    };
    let outcome = match &answer {
        Ok(Answer::Took(message)) => Outcome::Accepted {
            twilio_sid: message.sid.clone(),
            status: Status::from_twilio(&message.status).unwrap_or(Status::Queued),
        },
        Ok(Answer::OptedOut) => Outcome::Failed {
            by_twilio: false,
            error_code: OPTED_OUT.to_owned(),
            detail: "the recipient opted out before the call".to_owned(),
        },
        Ok(Answer::Settled) => app.retry.settled(claim, clock::now()),
        Ok(Answer::NotBegun) => app.retry.not_begun(claim, "the function was stopped before the call"),
        Ok(Answer::TooLate) => Outcome::Failed {
            by_twilio: false,
            error_code: RETRIES_EXHAUSTED.to_owned(),
            detail: "its time had passed before the call".to_owned(),
        },
        Err(error) => app.retry.outcome(claim, error, &app.renewals, app.pace.hold, clock::now()),
    };
    match &outcome {
        Outcome::Accepted { twilio_sid, .. } => {
            telemetry::count(Metric::SendsAccepted, 1);
            tracing::info!(message_id = %claim.message_id, twilio_sid, "Twilio took the message");
        }
        Outcome::Deferred { next_attempt_at, detail, .. } => {
            telemetry::count(Metric::SendsDeferred, 1);
            tracing::warn!(message_id = %claim.message_id, %next_attempt_at, detail, "the send is put off");
        }
        Outcome::Failed { error_code, detail, .. } => {
            telemetry::count(Metric::SendsFailed, 1);
            tracing::warn!(message_id = %claim.message_id, error_code, detail, "the message can't be sent");
        }
        Outcome::Unknown { detail } => {
            telemetry::count(Metric::SendsUnknown, 1);
            tracing::error!(message_id = %claim.message_id, detail, "it is not known whether Twilio took the message");
        }
        // Counted and logged when it is recorded.
        Outcome::Parked { .. } => {}
    }
    if answer.as_ref().is_err_and(SendError::is_our_fault) {
        telemetry::count(Metric::SendsMisconfigured, 1);
        tracing::error!(message_id = %claim.message_id, "Twilio refuses our account, number or credentials");
    }
    // First, so that nobody claims this message again before its sender is held.
    pace::after(app, claim, answer.as_ref().err()).await;
    if answer.as_ref().is_err_and(|error| error.class() == Some(ErrorClass::OptedOut)) {
        // Recording this is recording a STOP, which waits for this gate, and for those of others: no other outcome has to.
        gate.opened().await;
        record::now(app, &[(claim, outcome)]).await;
    } else {
        outcomes.tell(claim, outcome);
    }
}

/// What came of calling Twilio, when it did not fail.
enum Answer {
    Took(Box<Message>),
    /// It was not called, or not called again: the handset's STOP came first.
    OptedOut,
    /// It was not called, or not called again: the claim has ended, or Twilio has the message already.
    Settled,
    /// It was not called, since the gate was passed too long ago: there may be a STOP by now.
    NotBegun,
    /// It was not called: the message's `send_before` has passed since it was claimed.
    TooLate,
}

impl Answer {
    /// What it means for a message that the gate did not let it pass.
    fn refused(passage: Passage) -> Option<Self> {
        match passage {
            Passage::Go => None,
            Passage::Settled => Some(Self::Settled),
            Passage::OptedOut => Some(Self::OptedOut),
            Passage::TooLate => Some(Self::TooLate),
        }
    }
}

/// Calls Twilio, and calls again only for what it surely did not process: a few times, with full jitter, not after the
/// message's time, and only through the gate again.
async fn create(app: &App, claim: &Claimed, gate: &Gate) -> Result<Answer, SendError> {
    let first = call(app, claim, gate).await;
    let mut error = match first {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let mut tries = 1;
    loop {
        let SendOutcome::NotProcessed { retry_after } = error.outcome() else { return Err(error) };
        if error.retry() == Retry::HoldSender {
            return Err(error);
        }
        let Some(wait) = app.retry.wait_within_invocation(tries, retry_after) else { return Err(error) };
        if claim.send_before.is_some_and(|end| clock::now() + wait >= end) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        let held = match sends::pass_gate(&app.db, &[claim], clock::now()).await {
            Ok((passages, held)) => {
                let passage = passages.get(&claim.message_id).copied().unwrap_or(Passage::Settled);
                if let Some(refused) = Answer::refused(passage) {
                    held.release().await;
                    return Ok(refused);
                }
                held
            }
            Err(unanswered) => {
                let unanswered = common::error::chain(&unanswered);
                tracing::warn!(error = unanswered, "not tried again: there may be a STOP by now");
                return Err(error);
            }
        };
        let again = Gate::passed();
        let ((), answer) = tokio::join!(again.hold(held, 1), call(app, claim, &again));
        error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        tries += 1;
    }
}

/// Calls Twilio once, and tells the gate.
async fn call(app: &App, claim: &Claimed, gate: &Gate) -> Result<Answer, SendError> {
    let answer = if gate.is_stale() { Ok(Answer::NotBegun) } else { call_in_time(app, claim).await };
    gate.answered();
    answer
}

/// Calls Twilio, unless the message's time has passed: claimed in time, it may have been looked for, or have waited for a
/// STOP, since.
async fn call_in_time(app: &App, claim: &Claimed) -> Result<Answer, SendError> {
    let left = claim.send_before.map(|end| end.duration_since(clock::now()));
    if left.is_some_and(|left| !left.is_positive()) {
        return Ok(Answer::TooLate);
    }
    let message = CreateMessage {
        to: claim.to.clone(),
        sender: verify::sender(claim),
        body: claim.message_content.clone(),
        media_urls: claim.media_urls.clone(),
        status_callback: Some(status_callback_url(&app.callback_base_url, claim.message_id)),
        validity_period: left.and_then(|left| Duration::try_from(left).ok()),
    };
    let begun = std::time::Instant::now();
    let answer = app.twilio.create_message(&message).await;
    telemetry::record(Metric::CreateLatency, begun.elapsed().as_secs_f64() * 1_000.0);
    answer.map(|message| Answer::Took(Box::new(message)))
}
