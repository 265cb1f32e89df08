//! Deliveries of events: streams, and when an attempt is repeated.

use super::ids::SubscriptionId;
use super::named::named_enum;
use std::time::Duration;

named_enum! {
    /// The streams of a subscription.
    pub enum StreamKind: "a kind of stream" {
        /// Events as they happen.
        Live = "live",
        /// Events of the past that were requested again.
        Replay = "replay",
    }
}

/// A subscription's place in the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Which of its streams.
    pub kind: StreamKind,
}

/// When a failed attempt is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule {
    /// The delay after each failure. After the failure that has none, the event is given up.
    delays: Vec<Duration>,
}

/// The share of a delay that is random, so that events that failed together are not repeated together.
const JITTER: f64 = 0.2;

impl RetrySchedule {
    /// The default delays in seconds. They span more than a day: 27 hours and 36 minutes.
    pub const DEFAULT_SECONDS: [u64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

    /// Creates a schedule from its delays.
    #[must_use]
    pub fn new(delays: Vec<Duration>) -> Self {
        Self { delays }
    }

    /// Returns the delay after a failure, or `None` if the event is given up. `failures_before` are earlier failures of
    /// the event, `retry_after` is the receiver's wish, and `random` a fraction in `[0, 1)`.
    #[must_use]
    pub fn after(
        &self,
        failures_before: usize,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let delay = self.delays.get(failures_before)?;
        let with_jitter = delay.mul_f64(1.0 - JITTER + JITTER * random);
        Some(with_jitter.max(retry_after.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> RetrySchedule {
        RetrySchedule::new(RetrySchedule::DEFAULT_SECONDS.map(Duration::from_secs).to_vec())
    }

    #[test]
    fn delays_grow_and_end() {
        let delays: Vec<_> = (0..9)
            .map(|failures| schedule().after(failures, None, 0.999_999))
            .take_while(Option::is_some)
            .collect();
        let seconds: Vec<u64> =
            delays.iter().flatten().map(|delay| delay.as_secs_f64().round() as u64).collect();
        assert_eq!(seconds, RetrySchedule::DEFAULT_SECONDS);
        assert_eq!(schedule().after(1, None, 0.0), Some(Duration::from_secs(240)));
    }

    #[test]
    fn a_longer_retry_after_replaces_the_delay_and_does_not_add_an_attempt() {
        let wish = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(schedule().after(0, wish(60), 0.5), wish(60));
        assert_eq!(schedule().after(1, wish(60), 0.0), wish(240));
        assert_eq!(schedule().after(7, wish(60), 0.0), None);
    }
}
