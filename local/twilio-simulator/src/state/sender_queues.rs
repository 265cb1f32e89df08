//! The message queue of each sender: capacity and sending rate.
//!
//! <https://www.twilio.com/docs/messaging/guides/queueing-and-latency-on-twilio-messaging>:
//! each sender has a rate in segments per second, and further messages wait in its queue. If the queue is full, the
//! message is rejected with error 21611, or fails with 30001 if a messaging service has already accepted it.

use std::collections::HashMap;

use tokio::time::{Duration, Instant};

use crate::config::SenderQueue;

/// The queue of a sender has no room for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The queues of all senders. Each queue is stored as the time at which it will be empty.
#[derive(Debug)]
pub(crate) struct Queues {
    rules: Option<SenderQueue>,
    empty_at: HashMap<String, Instant>,
}

impl Queues {
    pub(crate) fn new(rules: Option<SenderQueue>) -> Self {
        Self { rules, empty_at: HashMap::new() }
    }

    /// Adds a message to the queue of `sender` and returns the time at which it is sent.
    ///
    /// # Errors
    /// [`Full`] when the segments do not fit. The queue is unchanged.
    pub(crate) fn join(&mut self, sender: &str, segments: u32, now: Instant) -> Result<Instant, Full> {
        let Some(rules) = self.rules else { return Ok(now) };
        let leaves = self.empty_at.get(sender).copied().unwrap_or(now).max(now);
        let waiting = leaves.duration_since(now).as_secs_f64() * rules.segments_per_second;
        if waiting + f64::from(segments) > rules.segments {
            return Err(Full);
        }
        let takes = Duration::from_secs_f64(f64::from(segments) / rules.segments_per_second);
        self.empty_at.insert(sender.to_owned(), leaves + takes);
        Ok(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_sends_at_its_rate_and_rejects_messages_when_full() {
        let mut queues = Queues::new(Some(SenderQueue { segments_per_second: 10.0, segments: 4.0 }));
        let now = Instant::now();
        let mut join = |sender, segments, after: u64| {
            let at = now + Duration::from_millis(after);
            queues.join(sender, segments, at).map(|leaves| leaves.duration_since(now).as_millis())
        };
        assert_eq!(join("a", 1, 0), Ok(0));
        assert_eq!(join("a", 2, 0), Ok(100));
        assert_eq!(join("a", 2, 0), Err(Full), "three segments are waiting");
        assert_eq!(join("a", 1, 0), Ok(300));
        assert_eq!(join("b", 4, 0), Ok(0), "each sender has its own queue");
        assert_eq!(join("a", 2, 200), Ok(400), "two segments have been sent");
        assert_eq!(join("a", 1, 5_000), Ok(5_000), "unused time is not accumulated");
    }

    #[test]
    fn without_a_rate_messages_are_sent_immediately() {
        let mut queues = Queues::new(None);
        let now = Instant::now();
        assert!((0..100).all(|_| queues.join("a", 10, now) == Ok(now)));
    }
}
