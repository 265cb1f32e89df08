//! Empties the spool: first onto the queue, then out of the table, so that nothing is lost in between.

use crate::{App, MAX_PAGES, PAGE, SweepError};
use common::clock;
use common::db::spool::{self, SpoolQueue, Spooled};
use common::telemetry::{self, Metric};
use std::time::Duration;

/// A webhook that was only just spooled is left alone: its function may still be at it.
const MIN_AGE: Duration = Duration::from_secs(1);

/// Puts spooled webhooks on their queues, oldest first, and returns how many. A queue that takes none does not hold up the
/// other.
///
/// # Errors
///
/// [`SweepError`] when Postgres or SQS failed; what was put on a queue by then is out of the spool, or will be put
/// there again, which its consumer takes as a duplicate.
pub(crate) async fn drain(app: &App) -> Result<usize, SweepError> {
    let inbound = drain_to(app, SpoolQueue::Inbound, &app.queues.inbound).await;
    let status = drain_to(app, SpoolQueue::Status, &app.queues.status).await;
    // Counted also while SQS is away: that is when the alarm on the backlog matters.
    let backlog = spool::backlog(&app.db).await;
    if let Ok(backlog) = backlog {
        telemetry::record(Metric::SpoolBacklog, backlog as f64);
    }
    let drained = inbound? + status?;
    backlog?;
    Ok(drained)
}

async fn drain_to(app: &App, queue: SpoolQueue, queue_url: &str) -> Result<usize, SweepError> {
    let mut drained = 0;
    for _ in 0..MAX_PAGES {
        let page = spool::oldest(&app.db, queue, clock::now(), MIN_AGE, PAGE).await?;
        let moved = put_back(app, queue_url, &page).await?;
        telemetry::count(Metric::SpoolDrained, moved);
        drained += moved;
        if page.len() < PAGE as usize || moved == 0 {
            break;
        }
    }
    Ok(drained)
}

async fn put_back(app: &App, queue_url: &str, spooled: &[Spooled]) -> Result<usize, SweepError> {
    if spooled.is_empty() {
        return Ok(0);
    }
    let messages: Vec<_> = spooled.iter().map(|s| (&s.message, s.request_id.clone())).collect();
    let refused = app.publisher.send_all(queue_url, &messages).await?;
    for position in &refused {
        tracing::error!(spool_id = %spooled[*position].id, "SQS refuses a spooled webhook");
    }
    let taken = (0..spooled.len()).filter(|position| !refused.contains(position));
    let ids: Vec<_> = taken.map(|position| spooled[position].id).collect();
    spool::remove(&app.db, &ids).await?;
    Ok(ids.len())
}
