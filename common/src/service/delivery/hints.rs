//! Comparing events with subscriptions, and hints on the queues.

use super::HintConfig;
use crate::clock;
use crate::db::deliveries::{self, DueStream};
use crate::db::{Db, DbError, events};
use crate::domain::delivery::Stream;
use crate::queue::{EventsMessage, PublishError, Publisher, StreamHint};
use std::time::Duration;

/// Hints were not sent. The streams are due again at the next comparison or sweep.
#[derive(Debug, thiserror::Error)]
pub enum HintError {
    /// SQS is unavailable.
    #[error("could not put hints on the queue")]
    Publish(#[from] PublishError),
    /// It could not be recorded that SQS did not accept hints.
    #[error("could not record that hints were not sent")]
    NotHinted(#[from] DbError),
}

/// Finds streams that need a worker, and sends hints.
#[derive(Debug)]
pub struct Hints {
    publisher: Publisher,
    config: HintConfig,
}

impl Hints {
    /// Creates a sender of hints.
    #[must_use]
    pub fn new(publisher: Publisher, config: HintConfig) -> Self {
        Self { publisher, config }
    }

    /// Numbers all committed events and compares them with the subscriptions. Returns the streams that need a worker or
    /// a hint.
    ///
    /// # Errors
    ///
    /// [`DbError`] if nothing was compared: a retry continues.
    pub async fn compare(&self, db: &Db) -> Result<Vec<DueStream>, DbError> {
        let mut due = Vec::new();
        loop {
            match self.compare_some(db, &mut due).await {
                Ok(true) => {}
                Ok(false) => return Ok(due),
                // The streams that were found count as hinted, so they must not be lost with the error.
                Err(error) if !due.is_empty() => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(error, "could not compare all events, leaving the rest to retry-events");
                    return Ok(due);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Compares a range of events. Returns whether there are more.
    async fn compare_some(&self, db: &Db, due: &mut Vec<DueStream>) -> Result<bool, DbError> {
        let end = events::number(db).await?;
        let matches = deliveries::match_events(db, self.config.every, clock::now()).await?;
        due.extend(matches.due);
        Ok(end.has_more || matches.has_more)
    }

    /// Returns due streams without a hint or a worker, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn due(&self, db: &Db, limit: i32) -> Result<Vec<DueStream>, DbError> {
        deliveries::due(db, self.config.every, limit, clock::now()).await
    }

    /// Sends hints for streams and returns how many SQS accepted. The others are due again.
    ///
    /// # Errors
    ///
    /// [`HintError`]. Some hints may be on the queue: a duplicate has no effect.
    pub async fn send(&self, db: &Db, due: &[DueStream]) -> Result<usize, HintError> {
        let (slow, fast): (Vec<_>, Vec<_>) = due.iter().copied().partition(|stream| stream.is_slow);
        let fast = self.send_to(db, &self.config.events_url, &fast).await?;
        Ok(fast + self.send_to(db, &self.config.slow_url, &slow).await?)
    }

    async fn send_to(&self, db: &Db, queue_url: &str, due: &[DueStream]) -> Result<usize, HintError> {
        if due.is_empty() {
            return Ok(0);
        }
        let message = |due: &DueStream| {
            (EventsMessage::V2(StreamHint::new(due.stream(), due.is_slow)), clock::new_id().to_string())
        };
        let messages: Vec<_> = due.iter().map(message).collect();
        // Boxed: the futures of the AWS SDK are large.
        let sent = Box::pin(self.publisher.send_all(queue_url, &messages)).await;
        let refused: Vec<Stream> = match &sent {
            Ok(positions) => {
                positions.iter().filter_map(|&position| Some(due.get(position)?.stream())).collect()
            }
            Err(_) => due.iter().map(DueStream::stream).collect(),
        };
        if !refused.is_empty() {
            deliveries::not_hinted(db, &refused).await?;
        }
        Ok(due.len() - sent?.len())
    }

    /// Sends a hint that arrives after a delay.
    ///
    /// # Errors
    ///
    /// [`HintError`]. The stream is due again.
    pub(super) async fn send_later(
        &self,
        db: &Db,
        stream: Stream,
        is_slow: bool,
        delay: Duration,
    ) -> Result<(), HintError> {
        let queue_url = if is_slow { &self.config.slow_url } else { &self.config.events_url };
        let hint = EventsMessage::V2(StreamHint::new(stream, is_slow));
        let request_id = clock::new_id().to_string();
        let sent = Box::pin(self.publisher.send_later(queue_url, &hint, &request_id, delay)).await;
        if sent.is_err() {
            deliveries::not_hinted(db, &[stream]).await?;
        }
        Ok(sent?)
    }

    /// Sends a hint that events were written.
    ///
    /// # Errors
    ///
    /// [`PublishError`]. `retry-events` finds the events.
    pub(super) async fn announce(&self) -> Result<(), PublishError> {
        let request_id = clock::new_id().to_string();
        Box::pin(self.publisher.send(&self.config.events_url, &EventsMessage::V1, &request_id)).await
    }
}
