//! Sends claimed messages to Twilio.

use crate::gate::Gate;
use crate::record::{self, Outcomes};
use crate::{App, pace, verify};
use common::clock;
use common::db::sends::{
    self, Claimed, NUMBER_DEACTIVATED, OPTED_OUT, Passage, RETRIES_EXHAUSTED, SendResult,
};
use common::domain::message::Status;
use common::domain::segments;
use common::telemetry::traces::{self, Kind, Span, TraceContext};
use common::telemetry::{self, Metric};
use common::twilio::{
    CreateMessage, ErrorClass, Message, Retry, SendError, SendOutcome, status_callback_url,
};
use std::time::Duration;
use tracing::Instrument;

/// Sends messages concurrently and records their outcomes. Messages that may have been sent are looked for at Twilio
/// first, while the others are sent.
pub(crate) async fn send_all(app: &App, claims: &[Claimed]) {
    let (outcomes, ended) = Outcomes::channel();
    // Moved, so that `outcomes` is dropped after the last send, which ends the recording.
    let sends = async move { send_claims(app, claims, &outcomes).await };
    tokio::join!(sends, record::receive(app, ended));
}

async fn send_claims<'a>(app: &App, claims: &'a [Claimed], outcomes: &Outcomes<'a>) {
    let (sought, prompt): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| verify::may_be_sent(app, claim));
    let verified = async {
        let absent = verify::absent(app, sought, outcomes).await;
        send_together(app, &absent, outcomes).await;
    };
    tokio::join!(send_together(app, &prompt, outcomes), verified);
}

/// Passes the gate with all messages together and sends those that may be sent.
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
                let span = span(claim);
                let send = send(app, claim, &gate, passage(claim), outcomes);
                async move { span.wrap(send).await }.instrument(telemetry::request(&claim.request_id))
            });
            tokio::join!(gate.hold(held, calls), futures::future::join_all(sends));
        }
        Err(error) => {
            let detail = common::error::chain(&error);
            tracing::error!(error = detail, "could not check for an opt-out, not sending");
            for claim in claims {
                outcomes.send(claim, app.config.retry.not_started(claim, &detail));
            }
        }
    }
}

/// Returns the span of an attempt. It continues the trace of the request or the inbound message that caused the send.
fn span(claim: &Claimed) -> Span {
    let from = claim.trace_context.as_deref().and_then(TraceContext::from_text);
    let span = Span::continuing(Kind::Internal, "send message", from.as_ref());
    if span.is_recorded() {
        span.set("sms.message_id", &claim.message_id.to_string());
        span.set_number("sms.attempt", claim.attempt_number.into());
    }
    span
}

/// Sends a message, and updates the message and the hold of its sender.
async fn send<'a>(app: &App, claim: &'a Claimed, gate: &Gate, passage: Passage, outcomes: &Outcomes<'a>) {
    let result = match CreateResult::blocked(passage) {
        Some(blocked) => Ok(blocked),
        None => create(app, claim, gate).await,
    };
    let outcome = match &result {
        Ok(CreateResult::Created(message)) => SendResult::Accepted {
            twilio_sid: message.sid.clone(),
            status: Status::from_twilio(&message.status).unwrap_or(Status::Queued),
        },
        Ok(CreateResult::OptedOut) => SendResult::Failed {
            by_twilio: false,
            error_code: OPTED_OUT.to_owned(),
            recipient: None,
            detail: "the recipient opted out before the request".to_owned(),
        },
        Ok(CreateResult::Deactivated) => SendResult::Failed {
            by_twilio: false,
            error_code: NUMBER_DEACTIVATED.to_owned(),
            recipient: None,
            detail: "the carrier has deactivated the number".to_owned(),
        },
        Ok(CreateResult::Settled) => app.config.retry.settled(claim, clock::now()),
        Ok(CreateResult::NotStarted) => {
            app.config.retry.not_started(claim, "the function was frozen before the request")
        }
        Ok(CreateResult::Stopped) => {
            app.config.retry.not_started(claim, "its batch was paused or cancelled before the request")
        }
        Ok(CreateResult::Expired) => SendResult::Failed {
            by_twilio: false,
            error_code: RETRIES_EXHAUSTED.to_owned(),
            recipient: None,
            detail: "the message expired before the request".to_owned(),
        },
        Err(error) => {
            app.config.retry.outcome(claim, error, &app.config.renewals, app.config.pace.hold, clock::now())
        }
    };
    match &outcome {
        SendResult::Accepted { twilio_sid, .. } => {
            telemetry::count(Metric::SendsAccepted, 1);
            telemetry::count(Metric::SegmentsSent, segments::count(&claim.message_content).segments);
            let waited = clock::now().duration_since(claim.wanted_at);
            telemetry::record(Metric::HandoverLatency, waited.as_secs_f64().max(0.0));
            tracing::info!(message_id = %claim.message_id, %twilio_sid, "message accepted by Twilio");
        }
        SendResult::Deferred { next_attempt_at, detail, .. } => {
            telemetry::count(Metric::SendsDeferred, 1);
            tracing::warn!(message_id = %claim.message_id, %next_attempt_at, detail, "deferred a send");
        }
        SendResult::Failed { error_code, detail, .. } => {
            telemetry::count(Metric::SendsFailed, 1);
            tracing::warn!(message_id = %claim.message_id, error_code, detail, "send failed");
        }
        SendResult::Unknown { detail } => {
            telemetry::count(Metric::SendsUnknown, 1);
            tracing::error!(message_id = %claim.message_id, detail, "send outcome unknown");
        }
        // Counted and logged when recorded.
        SendResult::Parked { .. } => {}
    }
    if let Err(error) = &result {
        telemetry::count_error(error.outcome_name());
    }
    if result.as_ref().is_err_and(SendError::is_our_fault) {
        telemetry::count(Metric::SendsMisconfigured, 1);
        tracing::error!(message_id = %claim.message_id, "sender configuration rejected by Twilio");
    }
    // Before the outcome, so that the message is not claimed again while its sender is not held yet.
    pace::update_hold(app, claim, result.as_ref().err()).await;
    if result.as_ref().is_err_and(|error| error.class() == Some(ErrorClass::OptedOut)) {
        // This outcome records a STOP, which waits for all gates. The other outcomes must not wait with it.
        gate.opened().await;
        record::record(app, &[(claim, outcome)]).await;
    } else {
        outcomes.send(claim, outcome);
    }
}

/// The result of a create that did not fail. Except for `Created`, Twilio did not create the message.
enum CreateResult {
    Created(Box<Message>),
    /// The recipient opted out.
    OptedOut,
    /// The carrier has deactivated the recipient's number.
    Deactivated,
    /// The claim has ended, or Twilio has the message already.
    Settled,
    /// The gate was passed too long ago, and there may have been a STOP since.
    NotStarted,
    /// Its batch is paused or cancelled. The next claim takes it out of the queue.
    Stopped,
    /// The message's `send_before` has passed since it was claimed.
    Expired,
}

impl CreateResult {
    /// Returns the result of a message that did not pass the gate, or `None` if it passed.
    fn blocked(passage: Passage) -> Option<Self> {
        match passage {
            Passage::Go => None,
            Passage::Settled => Some(Self::Settled),
            Passage::OptedOut => Some(Self::OptedOut),
            Passage::Deactivated => Some(Self::Deactivated),
            Passage::Stopped => Some(Self::Stopped),
            Passage::TooLate => Some(Self::Expired),
        }
    }
}

/// Creates a message at Twilio. Retries only requests that Twilio certainly did not process: a few times, with full
/// jitter, before the message expires, and after passing the gate again.
async fn create(app: &App, claim: &Claimed, gate: &Gate) -> Result<CreateResult, SendError> {
    let mut error = match request(app, claim, gate).await {
        Ok(result) => return Ok(result),
        Err(error) => error,
    };
    let mut attempts = 1;
    loop {
        let SendOutcome::NotProcessed { retry_after } = error.outcome() else { return Err(error) };
        if error.retry() == Retry::HoldSender {
            return Err(error);
        }
        let Some(wait) = app.config.retry.wait_within_invocation(attempts, retry_after) else {
            return Err(error);
        };
        if claim.send_before.is_some_and(|end| clock::now() + wait >= end) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        let held = match sends::pass_gate(&app.db, &[claim], clock::now()).await {
            Ok((passages, held)) => {
                let passage = passages.get(&claim.message_id).copied().unwrap_or(Passage::Settled);
                if let Some(blocked) = CreateResult::blocked(passage) {
                    held.release().await;
                    return Ok(blocked);
                }
                held
            }
            Err(gate_error) => {
                let gate_error = common::error::chain(&gate_error);
                tracing::warn!(error = gate_error, "could not check for an opt-out, not retrying");
                return Err(error);
            }
        };
        let gate = Gate::passed();
        let ((), result) = tokio::join!(gate.hold(held, 1), request(app, claim, &gate));
        error = match result {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        attempts += 1;
    }
}

/// Sends one request, unless the gate is stale, and reports its completion to the gate.
async fn request(app: &App, claim: &Claimed, gate: &Gate) -> Result<CreateResult, SendError> {
    let result =
        if gate.is_stale() { Ok(CreateResult::NotStarted) } else { request_in_time(app, claim).await };
    gate.completed();
    result
}

/// Sends one request, unless the message has expired since its claim, during a lookup or while waiting for a STOP.
async fn request_in_time(app: &App, claim: &Claimed) -> Result<CreateResult, SendError> {
    let left = claim.send_before.map(|end| end.duration_since(clock::now()));
    if left.is_some_and(|left| !left.is_positive()) {
        return Ok(CreateResult::Expired);
    }
    let base_url = &app.config.callback_base_url;
    let callback = status_callback_url(base_url, claim.message_id, traces::current().as_ref());
    let message = CreateMessage {
        to: claim.to.clone(),
        sender: claim.sender.clone(),
        body: claim.message_content.clone(),
        media_urls: claim.media_urls.clone(),
        status_callback: Some(callback),
        validity_period: left.and_then(|left| Duration::try_from(left).ok()),
    };
    let begun = std::time::Instant::now();
    let result = app.twilio.create_message(&message).await;
    telemetry::record(Metric::CreateLatency, begun.elapsed().as_secs_f64() * 1_000.0);
    result.map(|message| CreateResult::Created(Box::new(message)))
}
