//! A worker with a stream: claims events, makes attempts next to each other, and records their results with the next
//! claim.

use super::attempt::{Attempts, Receiver};
use super::{DeliveryConfig, HintError, Hints};
use crate::clock;
use crate::db::deliveries::{self, DeliveryEnd, DeliveryResult, Demand, Step};
use crate::db::{Db, DbError};
use crate::domain::delivery::Stream;
use crate::subscribers::Subscribers;
use crate::telemetry::{self, Metric};
use futures::future::{Either, FutureExt, LocalBoxFuture, select};
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most attempts that a worker makes at once for a stream: the highest `max_in_flight`.
const MAX_IN_FLIGHT: usize = 100;

/// Delivers the events of streams.
#[derive(Debug)]
pub struct Deliverer {
    config: DeliveryConfig,
    subscribers: Subscribers,
}

impl Deliverer {
    /// Creates a deliverer.
    #[must_use]
    pub fn new(config: DeliveryConfig, subscribers: Subscribers) -> Self {
        Self { config, subscribers }
    }

    /// Delivers the events of a stream until none is due or the budget is used up. Then sends a hint for the rest.
    ///
    /// # Errors
    ///
    /// [`DbError`]. Attempts under way are made again after their lease.
    pub async fn run(&self, db: &Db, hints: &Hints, stream: Stream, is_slow: bool) -> Result<(), DbError> {
        let (subscribers, config) = (&self.subscribers, &self.config);
        let run = Run {
            db,
            attempts: Attempts { subscribers, config, stream, is_slow },
            until: Instant::now() + config.budget,
            in_flight: FuturesUnordered::new(),
            finished: Vec::new(),
        };
        let Some((step, disabled)) = run.until_end().await? else { return Ok(()) };
        if disabled {
            telemetry::count(Metric::SubscriptionsDisabled, 1);
            let subscription_id = stream.subscription_id;
            tracing::warn!(%subscription_id, "subscription disabled, the receiver answered 410");
            let announced = hints.announce().await;
            log(announced.map_err(HintError::from));
        }
        if let Some(hint_at) = step.hint_at {
            log(hints.send_later(db, stream, step.is_slow, left_until(hint_at)).await);
        }
        Ok(())
    }
}

/// Logs that a hint was not sent. The next sweep sends it.
fn log(sent: Result<(), HintError>) {
    if let Err(error) = sent {
        telemetry::count_error("sqs_failed");
        tracing::warn!(
            error = crate::error::chain(&error),
            "could not send a hint, leaving it to retry-events"
        );
    }
}

fn left_until(at: Timestamp) -> Duration {
    at.duration_since(clock::now()).try_into().unwrap_or_default()
}

struct Run<'a> {
    db: &'a Db,
    attempts: Attempts<'a>,
    /// When it stops claiming.
    until: Instant,
    in_flight: FuturesUnordered<LocalBoxFuture<'a, DeliveryResult>>,
    /// Results that are not recorded yet.
    finished: Vec<DeliveryResult>,
}

impl Run<'_> {
    /// Returns the last step, and whether the receiver's answer has disabled the subscription. `None` if the stream is
    /// gone.
    async fn until_end(mut self) -> Result<Option<(Step, bool)>, DbError> {
        let mut disabled = false;
        loop {
            let results = std::mem::take(&mut self.finished);
            let is_gone = |result: &DeliveryResult| matches!(result.end, DeliveryEnd::Gone { .. });
            let Some(mut step) = self.exchange(&results).await? else { return Ok(None) };
            disabled |= !step.is_active && results.iter().any(is_gone);
            self.start(&mut step);
            if step.is_over {
                return Ok(Some((step, disabled)));
            }
            self.wait(step.resume_at).await;
        }
    }

    /// Records results and claims events, while the other attempts continue.
    async fn exchange(&mut self, results: &[DeliveryResult]) -> Result<Option<Step>, DbError> {
        let Attempts { config, stream, is_slow, .. } = self.attempts;
        let in_flight = self.in_flight.len();
        let wanted = if Instant::now() < self.until { MAX_IN_FLIGHT.saturating_sub(in_flight) } else { 0 };
        let demand = Demand { wanted: wanted as i32, in_flight: in_flight as i32, is_slow };
        let mut exchange =
            pin!(deliveries::exchange(self.db, stream, results, demand, &config.limits, clock::now()));
        loop {
            if self.in_flight.is_empty() {
                return exchange.await;
            }
            match select(&mut exchange, self.in_flight.next()).await {
                Either::Left((step, _)) => return step,
                Either::Right((finished, _)) => self.finished.extend(finished),
            }
        }
    }

    /// Starts the attempts of a step.
    fn start(&mut self, step: &mut Step) {
        if step.claims.is_empty() {
            return;
        }
        let receiver = Receiver::of(step);
        let attempts = self.attempts;
        for claim in std::mem::take(&mut step.claims) {
            self.in_flight.push(attempts.make(Arc::clone(&receiver), claim).boxed_local());
        }
    }

    /// Waits until an attempt has ended or the time has come, and takes what else has ended.
    async fn wait(&mut self, resume_at: Option<Timestamp>) {
        if self.finished.is_empty() {
            let resume = async {
                match resume_at {
                    Some(at) => tokio::time::sleep(left_until(at)).await,
                    None => std::future::pending().await,
                }
            };
            let ended = async {
                match self.in_flight.next().await {
                    Some(finished) => finished,
                    // Nothing is in flight.
                    None => std::future::pending().await,
                }
            };
            if let Either::Right((finished, _)) = select(pin!(resume), pin!(ended)).await {
                self.finished.push(finished);
            }
        }
        while let Some(Some(finished)) = self.in_flight.next().now_or_never() {
            self.finished.push(finished);
        }
    }
}
