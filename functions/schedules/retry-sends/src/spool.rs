//! Empties the spool: first onto the queue, then out of the table, so that nothing is lost in between.

use crate::{App, PAGE, SweepError};
use common::clock;
use common::db::DbError;
use common::db::spool::{self, SpoolQueue, Spooled};
use common::queue::PublishError;
use common::telemetry::{self, Metric};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The minimum age of a webhook that is taken: the function that spooled a younger one may still be running.
const MIN_AGE: Duration = Duration::from_secs(1);

/// How many webhooks are put on their queue between two looks at the clock: one call to SQS.
const CHUNK: usize = 10;

/// After how many failed calls in a row SQS counts as down. A single call may fail because of a message in it, which must not
/// block the others: those are sent one by one.
const MAX_FAILURES: usize = 3;

/// Puts spooled webhooks on their queue, oldest first, until `until`, and returns how many. Webhooks that SQS refuses stay
/// in the spool, and do not block younger ones.
///
/// # Errors
///
/// [`SweepError`] when Postgres or SQS failed. Webhooks that were put on the queue by then are out of the spool, or are put
/// there again by the next run; consumers ignore duplicates.
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
        drain.put_back(&page, until).await?;
        if is_last || drain.is_over(until) {
            break;
        }
        after = page.into_iter().next_back();
    }
    drain.error.map_or(Ok(drain.drained), |error| Err(error.into()))
}

/// Reports how many webhooks wait, also while SQS is down: that is when the alarm on the backlog matters.
pub(crate) async fn report_backlog(app: &App) -> Result<(), DbError> {
    let backlog = spool::backlog(&app.db).await?;
    telemetry::record(Metric::SpoolBacklog, backlog as f64);
    Ok(())
}

struct Drain<'a> {
    app: &'a App,
    queue_url: &'a str,
    drained: usize,
    /// How many calls to SQS failed in a row.
    failures: usize,
    error: Option<PublishError>,
}

impl Drain<'_> {
    fn is_over(&self, until: Instant) -> bool {
        self.failures >= MAX_FAILURES || Instant::now() >= until
    }

    async fn put_back(&mut self, page: &[Spooled], until: Instant) -> Result<(), DbError> {
        let mut taken = Vec::new();
        'page: for chunk in page.chunks(CHUNK) {
            if !self.send(chunk, &mut taken).await {
                for spooled in chunk {
                    if self.is_over(until) {
                        break 'page;
                    }
                    self.send(std::slice::from_ref(spooled), &mut taken).await;
                }
            }
            if self.is_over(until) {
                break;
            }
        }
        if !taken.is_empty() {
            spool::remove(&self.app.db, &taken).await?;
            telemetry::count(Metric::SpoolDrained, taken.len());
            self.drained += taken.len();
        }
        Ok(())
    }

    /// Sends webhooks together, notes those that SQS accepted, and returns whether the call succeeded.
    async fn send(&mut self, spooled: &[Spooled], taken: &mut Vec<Uuid>) -> bool {
        let messages: Vec<_> = spooled.iter().map(|s| (&s.message, s.request_id.clone())).collect();
        match self.app.publisher.send_all(self.queue_url, &messages).await {
            Ok(refused) => {
                self.failures = 0;
                for (position, spooled) in spooled.iter().enumerate() {
                    if refused.contains(&position) {
                        tracing::error!(spool_id = %spooled.id, "SQS refuses a spooled webhook");
                    } else {
                        taken.push(spooled.id);
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
