//! One attempt to deliver a claimed event.

use super::DeliveryConfig;
use super::content::with_content;
use crate::clock;
use crate::config::Secret;
use crate::db::deliveries::{Claim, DeliveryEnd, DeliveryResult, Step};
use crate::domain::delivery::{Stream, StreamKind};
use crate::subscribers::{Attempt, Destination, InvalidDestination, Outcome, Outgoing, Subscribers};
use crate::telemetry::{self, Metric};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// A subscription's destination and secrets.
#[derive(Debug)]
pub(super) struct Receiver {
    destination: Result<Destination, InvalidDestination>,
    secrets: Vec<Secret>,
}

impl Receiver {
    pub(super) fn of(step: &Step) -> Arc<Self> {
        Arc::new(Self {
            destination: Destination::stored(step.url.as_deref(), step.queue_arn.as_deref()),
            secrets: step.secrets.clone(),
        })
    }
}

/// Makes the attempts of a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempts<'a> {
    pub(super) subscribers: &'a Subscribers,
    pub(super) config: &'a DeliveryConfig,
    pub(super) stream: Stream,
    /// Whether an attempt may take its full time.
    pub(super) is_slow: bool,
}

impl Attempts<'_> {
    /// Makes an attempt.
    pub(super) async fn make(self, receiver: Arc<Receiver>, claim: Claim) -> DeliveryResult {
        let attempted_at = clock::now();
        let attempt = match (&receiver.destination, &claim.body) {
            (Ok(destination), Some(body)) => self.send(destination, &receiver.secrets, &claim, body).await,
            (Err(error), _) => not_sent(Outcome::Failed, error.to_string()),
            (_, None) => not_sent(Outcome::Failed, "the event is too old and was removed".to_owned()),
        };
        let end = self.end(&attempt, &claim);
        self.report(&attempt, end, &claim);
        DeliveryResult {
            position: claim.position,
            leased_until: claim.leased_until,
            end,
            attempted_at,
            duration_ms: i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX),
            status_code: attempt.status_code.map(i32::from),
            error: attempt.error,
            response_body: attempt.response_body,
        }
    }

    async fn send(
        &self,
        destination: &Destination,
        secrets: &[Secret],
        claim: &Claim,
        body: &str,
    ) -> Attempt {
        let (id, group) = (claim.event_id.to_string(), claim.conversation_id.map(|id| id.to_string()));
        let body = with_content(claim, body);
        let outgoing = Outgoing { id: &id, body: &body, secrets, group: group.as_deref() };
        self.subscribers.deliver(destination, &outgoing, self.timeout()).await
    }

    fn timeout(&self) -> Duration {
        if self.is_slow { self.config.timeout } else { self.config.fast_timeout }
    }

    /// Returns what follows from an attempt.
    fn end(&self, attempt: &Attempt, claim: &Claim) -> DeliveryEnd {
        let next_attempt_at = || -> Option<Timestamp> {
            // The event is no longer in the log.
            claim.body.as_ref()?;
            let failures = usize::try_from(claim.attempts).unwrap_or_default();
            let delay =
                self.config.schedule.after(failures, attempt.retry_after, clock::random_fraction())?;
            Some(clock::now() + delay)
        };
        let retry_after_seconds = attempt.retry_after.unwrap_or_default().as_secs_f64();
        match attempt.outcome {
            Outcome::Delivered => DeliveryEnd::Delivered,
            // It may have been about to answer, so this is not a failure yet.
            Outcome::TimedOut if self.timeout() < self.config.timeout => DeliveryEnd::Released,
            Outcome::TimedOut | Outcome::Unavailable => {
                DeliveryEnd::Unavailable { next_attempt_at: next_attempt_at(), retry_after_seconds }
            }
            Outcome::Failed => DeliveryEnd::Failed { next_attempt_at: next_attempt_at() },
            // It is attempted first if the subscription is enabled again.
            Outcome::Gone => DeliveryEnd::Gone { next_attempt_at: Some(clock::now()) },
        }
    }

    /// Records metrics, and logs a failure.
    fn report(&self, attempt: &Attempt, end: DeliveryEnd, claim: &Claim) {
        let next_attempt_at = match end {
            DeliveryEnd::Delivered => {
                telemetry::count(Metric::EventsDelivered, 1);
                let written =
                    claim.created_at.filter(|_| claim.attempts == 0 && self.stream.kind == StreamKind::Live);
                if let Some(written) = written {
                    let latency = clock::now().duration_since(written).as_secs_f64();
                    telemetry::record(Metric::EventLatency, latency.max(0.0));
                }
                return;
            }
            DeliveryEnd::Released => {
                telemetry::count(Metric::DeliveriesReleased, 1);
                return;
            }
            DeliveryEnd::Failed { next_attempt_at }
            | DeliveryEnd::Unavailable { next_attempt_at, .. }
            | DeliveryEnd::Gone { next_attempt_at } => next_attempt_at,
        };
        telemetry::count(Metric::DeliveriesFailed, 1);
        let (subscription_id, event_id) = (self.stream.subscription_id, claim.event_id);
        let (number, error) = (claim.attempts + 1, attempt.error.as_deref().unwrap_or_default());
        let kind = self.stream.kind.as_str();
        if next_attempt_at.is_some() {
            tracing::info!(%subscription_id, %event_id, kind, attempt = number, error, "delivery failed");
        } else {
            telemetry::count(Metric::EventsGivenUp, 1);
            tracing::warn!(%subscription_id, %event_id, kind, attempt = number, error, "event given up");
        }
    }
}

/// An attempt that ended before anything was sent.
fn not_sent(outcome: Outcome, error: String) -> Attempt {
    Attempt {
        outcome,
        status_code: None,
        error: Some(error),
        response_body: None,
        retry_after: None,
        duration: Duration::ZERO,
    }
}
