//! Empties the spool: first onto the queue, then out of the table, so that nothing is lost in between.

use crate::{App, MAX_PAGES, PAGE, SweepError};
use common::clock;
use common::db::spool::{self, SpoolQueue, Spooled};
use common::telemetry::{self, Metric};
use std::time::Duration;

/// A webhook that was only just spooled is left alone: its function may still be at it.
const MIN_AGE: Duration = Duration::from_secs(1);

/// Puts spooled webhooks on their queues, oldest first, and returns how many.
///
/// # Errors
///
/// [`SweepError`] when Postgres or SQS failed; what was put on a queue by then is out of the spool, or will be put
/// there again, which its consumer takes as a duplicate.
pub(crate) async fn drain(app: &App) -> Result<usize, SweepError> {
    let mut drained = 0;
    for _ in 0..MAX_PAGES {
        let page = spool::oldest(&app.db, clock::now(), MIN_AGE, PAGE).await?;
        let more = page.len() == PAGE as usize;
        let (inbound, status): (Vec<Spooled>, Vec<Spooled>) =
            page.into_iter().partition(|spooled| spooled.queue == SpoolQueue::Inbound);
        let mut moved = 0;
        for (queue_url, spooled) in [(&app.queues.inbound, inbound), (&app.queues.status, status)] {
            moved += put_back(app, queue_url, spooled).await?;
        }
        drained += moved;
        if !more || moved == 0 {
            break;
        }
    }
    telemetry::count(Metric::SpoolDrained, drained);
    Ok(drained)
}

async fn put_back(app: &App, queue_url: &str, spooled: Vec<Spooled>) -> Result<usize, SweepError> {
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
