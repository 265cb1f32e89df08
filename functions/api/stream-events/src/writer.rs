//! Writes a stream until its time is up.

use super::{PAGE, Pace, format};
use common::db::events::Filter;
use common::db::{Db, DbError};
use common::error::chain;
use common::service::events::{self, Cursor, Page, ReadError};
use common::telemetry::{self, Metric};
use lambda_runtime::streaming::Sender;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// How long the last chunk may wait for a slow client. The function's timeout is longer.
const LAST_CHUNK: Duration = Duration::from_secs(1);

/// Why a stream ended before its time.
enum Ended {
    /// The connection is gone.
    Disconnected,
    /// The log is shorter than before: an older backup was restored.
    Restored,
    /// Something that another read would not change.
    Failed(Box<dyn std::error::Error>),
}

/// A stream, and how far it has come.
struct Writer {
    db: Db,
    pace: Pace,
    filter: Filter,
    sender: Sender,
    /// The place up to which the log was read.
    read_to: Cursor,
    /// The last id that was sent, or the one that the client has from its last stream.
    id: Cursor,
    sent_at: Instant,
    events: usize,
    has_failed: bool,
}

/// Writes the stream that begins with a page.
pub(super) async fn write(
    db: Db,
    pace: Pace,
    filter: Filter,
    first: Page,
    after: Cursor,
    sender: Sender,
    began: Instant,
) {
    let (read_to, id) = (after, after);
    let mut writer =
        Writer { db, pace, filter, sender, read_to, id, sent_at: began, events: 0, has_failed: false };
    let left = pace.stream.saturating_sub(began.elapsed());
    // Dropping a read or a chunk that waits for the client loses nothing: `id` changes when a chunk is taken.
    let reason = match tokio::time::timeout(left, writer.follow(first)).await {
        Err(_) => {
            let _ = tokio::time::timeout(LAST_CHUNK, writer.progress()).await;
            "complete"
        }
        Ok(Err(Ended::Disconnected)) => "disconnected",
        Ok(Err(Ended::Restored)) => "the log was restored",
        Ok(Err(Ended::Failed(error))) => {
            telemetry::count_error("internal");
            telemetry::count(Metric::ApiFailures, 1);
            tracing::error!(error = chain(error.as_ref()), "stream failed");
            "failed"
        }
    };
    tracing::info!(name: telemetry::LAST_LINE, reason, events = writer.events, "stream ended");
}

impl Writer {
    async fn follow(&mut self, first: Page) -> Result<Infallible, Ended> {
        // The first chunk also shows the client that the stream has begun.
        self.send(format::retry(self.pace.retry)).await?;
        self.page(&first).await?;
        loop {
            let left = self.pace.heartbeat.saturating_sub(self.sent_at.elapsed());
            let (filter, longest) = (&self.filter, self.pace.longest_interval);
            match events::read_or_wait(&self.db, filter, self.read_to, PAGE, left, longest).await {
                Ok(page) => self.page(&page).await?,
                Err(ReadError::Cursor(_)) => return Err(Ended::Restored),
                Err(ReadError::Db(error)) => self.outage(error).await?,
            }
            if self.sent_at.elapsed() >= self.pace.heartbeat {
                self.send(format::HEARTBEAT.to_owned()).await?;
                self.progress().await?;
            }
        }
    }

    /// Sends the events of a page in one chunk.
    async fn page(&mut self, page: &Page) -> Result<(), Ended> {
        let texts: Result<Vec<String>, _> = page.events.iter().map(format::event).collect();
        let texts = texts.map_err(|error| Ended::Failed(error.into()))?;
        if let Some(last) = page.events.last() {
            self.send(texts.concat()).await?;
            self.id = last.cursor;
            self.events += texts.len();
        }
        self.read_to = page.next;
        Ok(())
    }

    /// Tells the client how far the log was read. If no event matches the filter for long, the next stream does not
    /// search the same part again.
    async fn progress(&mut self) -> Result<(), Ended> {
        if self.id != self.read_to {
            self.send(format::progress(self.read_to)).await?;
            self.id = self.read_to;
        }
        Ok(())
    }

    /// Waits when Postgres is unavailable. The stream stays open, because browsers give up when a new one gets a 503.
    async fn outage(&mut self, error: DbError) -> Result<(), Ended> {
        if !error.is_unavailable() {
            return Err(Ended::Failed(error.into()));
        }
        if !self.has_failed {
            telemetry::count_error("unavailable");
            tracing::warn!(error = chain(&error), "could not read events: the stream continues");
        }
        self.has_failed = true;
        tokio::time::sleep(self.pace.longest_interval).await;
        Ok(())
    }

    async fn send(&mut self, text: String) -> Result<(), Ended> {
        self.sender.send_data(text.into()).await.map_err(|_| Ended::Disconnected)?;
        self.sent_at = Instant::now();
        Ok(())
    }
}
