//! A sender's queue at Twilio: what it takes at most, and how fast messages leave it.
//!
//! <https://www.twilio.com/docs/messaging/guides/queueing-and-latency-on-twilio-messaging>: each sender sends so many segments a
//! second, what is more waits in its queue, and what does not fit there is refused with 21611, or, when a Messaging
//! Service has accepted it already, fails with 30001.

use std::collections::HashMap;

use tokio::time::{Duration, Instant};

use super::config::SenderQueue;

/// How long Twilio's queues are unless an account's are configured otherwise: ten hours of the sender's rate.
pub(super) const DEFAULT_QUEUE_SECONDS: f64 = 36_000.0;

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The queues of all senders. A queue is only the time at which it will be empty.
#[derive(Debug)]
pub(super) struct Queues {
    rules: Option<SenderQueue>,
    empty_at: HashMap<String, Instant>,
}

impl Queues {
    pub(super) fn new(rules: Option<SenderQueue>) -> Self {
        Self { rules, empty_at: HashMap::new() }
    }

    /// Puts a message behind what waits already, and returns when it leaves.
    ///
    /// # Errors
    /// [`Full`] when its segments are more than the queue still takes; nothing has changed then.
    pub(super) fn join(&mut self, sender: &str, segments: u32, now: Instant) -> Result<Instant, Full> {
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
    fn segments_leave_at_their_pace_and_what_is_too_much_is_refused() {
        let mut queues = Queues::new(Some(SenderQueue { segments_per_second: 10.0, segments: 4.0 }));
        let now = Instant::now();
        let mut join = |sender, segments, after: u64| {
            let at = now + Duration::from_millis(after);
            queues.join(sender, segments, at).map(|leaves| leaves.duration_since(now).as_millis())
        };
        assert_eq!(join("a", 1, 0), Ok(0));
        assert_eq!(join("a", 2, 0), Ok(100));
        assert_eq!(join("a", 2, 0), Err(Full), "three wait already");
        assert_eq!(join("a", 1, 0), Ok(300));
        assert_eq!(join("b", 4, 0), Ok(0), "each sender has a queue of its own");
        assert_eq!(join("a", 2, 200), Ok(400), "two have left");
        assert_eq!(join("a", 1, 5_000), Ok(5_000), "an empty queue saves nothing up");
    }

    #[test]
    fn without_rules_everything_leaves_at_once() {
        let mut queues = Queues::new(None);
        let now = Instant::now();
        assert!((0..100).all(|_| queues.join("a", 10, now) == Ok(now)));
    }
}
