//! A circuit breaker: blocks requests for a while after consecutive failures, then allows a single trial request.
//!
//! The state is per process, so each running function has its own timeouts during an outage. Skipped lookups stay in
//! Postgres for the schedule.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number of consecutive failures that opens the breaker. Greater than the attempts for one number, so that a
/// single number cannot open it.
const FAILURES: u32 = 5;

#[derive(Debug)]
pub(super) struct Breaker {
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    opened_at: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(open_for: Duration) -> Self {
        Self { open_for, state: Mutex::default() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether a request is allowed. An open breaker allows one trial request per period until one succeeds.
    pub(super) fn allows(&self) -> bool {
        self.allows_at(Instant::now())
    }

    fn allows_at(&self, now: Instant) -> bool {
        self.with(|state| match state.opened_at {
            None => true,
            Some(opened_at) if now.saturating_duration_since(opened_at) >= self.open_for => {
                state.opened_at = Some(now);
                true
            }
            Some(_) => false,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.with(|state| state.opened_at.is_none())
    }

    pub(super) fn succeeded(&self) {
        self.with(|state| *state = State::default());
    }

    pub(super) fn failed(&self) {
        self.failed_at(Instant::now());
    }

    fn failed_at(&self, now: Instant) {
        self.with(|state| {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= FAILURES {
                state.opened_at = Some(now);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consecutive_failures_open_the_breaker() {
        let breaker = Breaker::new(Duration::from_secs(60));
        for _ in 0..3 {
            breaker.failed();
            breaker.failed();
            breaker.succeeded();
        }
        assert!(breaker.allows() && breaker.is_closed());
        for _ in 0..FAILURES {
            breaker.failed();
        }
        assert!(!breaker.allows() && !breaker.is_closed());
    }

    #[test]
    fn one_trial_request_is_allowed_and_its_success_closes_the_breaker() {
        let minute = Duration::from_secs(60);
        let breaker = Breaker::new(minute);
        let opened = Instant::now();
        for _ in 0..FAILURES {
            breaker.failed_at(opened);
        }
        assert!(!breaker.allows_at(opened + minute - Duration::from_millis(1)));
        let later = opened + minute;
        assert!(breaker.allows_at(later), "the period has ended");
        assert!(!breaker.allows_at(later), "a second trial request is not allowed");
        breaker.failed_at(later + Duration::from_secs(1));
        assert!(!breaker.allows_at(later + minute), "the period starts again with the failure");
        assert!(breaker.allows_at(later + minute + Duration::from_secs(1)));
        breaker.succeeded();
        assert!(breaker.allows() && breaker.allows() && breaker.is_closed());
    }
}
