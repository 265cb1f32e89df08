//! Moves webhooks from the spool to their queues: a row is deleted after SQS has accepted its webhook, so none is lost.

use crate::{App, PAGE, SweepError};
use common::clock;
use common::db::DbError;
use common::db::spool::{self, SpoolQueue, Spooled};
use common::queue::{Grouped, PublishError};
use common::telemetry::{self, Metric};
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The minimum age of a webhook: the function that stored a younger one may still be running.
const MIN_AGE: Duration = Duration::from_secs(1);

/// How many webhooks are sent at a time: one SQS request.
const CHUNK: usize = 10;

/// After how many consecutive failed requests SQS counts as unavailable. One request may fail because of one of its
/// messages, so its messages are then sent one by one.
const MAX_FAILURES: usize = 3;

/// Puts spooled webhooks on their queue, oldest first, until `until`, and returns how many. Webhooks that SQS refuses
/// stay in the spool and do not block younger ones.
///
/// # Errors
///
/// [`SweepError`] if Postgres or SQS failed. The next run may put some webhooks on the queue again; consumers ignore
/// duplicates.
pub(crate) async fn drain(
    app: &App,
    queue: SpoolQueue,
    queue_url: &str,
    until: Instant,
) -> Result<usize, SweepError> {
    let mut drain = Drain { app, queue_url, drained: 0, failures: 0, error: None };
    let mut after = None;
    loop {
        let page = spool::oldest(&app.db, queue, clock::now(), MIN_AGE, after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        drain.send_page(&page, until).await?;
        if is_last || drain.is_over(until) {
            break;
        }
        after = page.into_iter().next_back();
    }
    drain.error.map_or(Ok(drain.drained), |error| Err(error.into()))
}

/// Records the number of spooled webhooks, also while SQS is unavailable, for the alarm on the backlog.
pub(crate) async fn report_backlog(app: &App) -> Result<(), DbError> {
    let backlog = spool::backlog(&app.db).await?;
    telemetry::record(Metric::SpoolBacklog, backlog as f64);
    Ok(())
}

/// A spooled queue message. It is sent unchanged, whatever its version.
#[derive(Serialize)]
#[serde(transparent)]
struct SpooledMessage<'a>(&'a Value);

impl Grouped for SpooledMessage<'_> {
    fn group(&self) -> Option<String> {
        self.0["group"].as_str().map(str::to_owned)
    }
}

struct Drain<'a> {
    app: &'a App,
    queue_url: &'a str,
    drained: usize,
    /// The number of consecutive failed requests.
    failures: usize,
    error: Option<PublishError>,
}

impl Drain<'_> {
    fn is_over(&self, until: Instant) -> bool {
        self.failures >= MAX_FAILURES || Instant::now() >= until
    }

    async fn send_page(&mut self, page: &[Spooled], until: Instant) -> Result<(), DbError> {
        let mut accepted = Vec::new();
        'page: for chunk in page.chunks(CHUNK) {
            if !self.send(chunk, &mut accepted).await {
                for spooled in chunk {
                    if self.is_over(until) {
                        break 'page;
                    }
                    self.send(std::slice::from_ref(spooled), &mut accepted).await;
                }
            }
            if self.is_over(until) {
                break;
            }
        }
        if !accepted.is_empty() {
            spool::remove(&self.app.db, &accepted).await?;
            telemetry::count(Metric::SpoolDrained, accepted.len());
            self.drained += accepted.len();
        }
        Ok(())
    }

    /// Sends webhooks in one request, adds those that SQS accepted to `accepted`, and returns whether the request
    /// succeeded.
    async fn send(&mut self, spooled: &[Spooled], accepted: &mut Vec<Uuid>) -> bool {
        let messages: Vec<_> =
            spooled.iter().map(|s| (SpooledMessage(&s.message), s.request_id.clone())).collect();
        match self.app.publisher.send_all(self.queue_url, &messages).await {
            Ok(refused) => {
                self.failures = 0;
                for (position, spooled) in spooled.iter().enumerate() {
                    if refused.contains(&position) {
                        tracing::error!(spool_id = %spooled.id, "could not enqueue a spooled webhook");
                    } else {
                        accepted.push(spooled.id);
                    }
                }
                true
            }
            Err(error) => {
                self.failures += 1;
                self.error = Some(error);
                false
            }
        }
    }
}
