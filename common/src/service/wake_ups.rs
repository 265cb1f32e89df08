//! Puts wake-ups on `[outbound]`, each of which makes `send-outbound` claim messages for one sender.

use crate::clock;
use crate::db::senders::{self, WakeUp};
use crate::db::{Db, DbError};
use crate::domain::sender::Sender;
use crate::queue::{DispatchMessage, PublishError, Publisher};
use std::time::Duration;

/// A wake-up to be put on the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedWakeUp {
    /// The sender, and when it is due.
    pub wake_up: WakeUp,
    /// How long SQS delays the message.
    pub delay: Duration,
    /// How many wake-ups led to this one.
    pub hops: u32,
}

/// Wake-ups that were not put on the queue. The next run of `retry-sends` puts others there.
#[derive(Debug, thiserror::Error)]
pub enum WakeUpError {
    /// SQS is unavailable.
    #[error("could not put wake-ups on the queue")]
    Publish(#[from] PublishError),
    /// `wake_at` could not be cleared for senders whose wake-ups SQS did not accept.
    #[error("could not clear wake_at")]
    Clear(#[from] DbError),
}

/// Puts wake-ups on the queue and returns how many SQS accepted. For the others, the senders' `wake_at` is cleared, so
/// that the next claim or sweep creates new wake-ups.
///
/// # Errors
///
/// [`WakeUpError`]. Some wake-ups may be on the queue: a duplicate has no effect.
pub async fn publish(
    db: &Db,
    publisher: &Publisher,
    queue_url: &str,
    wake_ups: Vec<QueuedWakeUp>,
) -> Result<usize, WakeUpError> {
    if wake_ups.is_empty() {
        return Ok(0);
    }
    let senders: Vec<Sender> = wake_ups.iter().map(|queued| queued.wake_up.sender.clone()).collect();
    let messages: Vec<_> = wake_ups
        .into_iter()
        .map(|QueuedWakeUp { wake_up: WakeUp { sender, due_at }, delay, hops }| {
            (DispatchMessage::wake_up(sender, due_at, hops), clock::new_id().to_string(), delay)
        })
        .collect();
    // Boxed: the futures of the AWS SDK are large.
    let published = Box::pin(publisher.send_all_later(queue_url, &messages)).await;
    let refused: Vec<&Sender> = match &published {
        Ok(positions) => positions.iter().filter_map(|&position| senders.get(position)).collect(),
        Err(_) => senders.iter().collect(),
    };
    clear(db, &refused).await?;
    Ok(senders.len() - published?.len())
}

/// Clears `wake_at` of senders that have no wake-up on the queue.
///
/// # Errors
///
/// [`WakeUpError::Clear`]. The senders are woken after `wake_at`.
pub async fn clear(db: &Db, senders: &[&Sender]) -> Result<(), WakeUpError> {
    if senders.is_empty() { Ok(()) } else { Ok(senders::not_woken(db, senders).await?) }
}
