//! A breaker: after some failures in a row nobody is asked for a while, then one call finds out.
//!
//! Its state is the process's own. A dead peer so costs each running function a few timeouts a period, and what was not
//! asked is kept in Postgres for the schedule, which is all that has to outlive a process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many failures in a row open it: more than the tries for one number, so that one alone can't.
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

    /// Tells whether the peer may be called. Once its time is over, an open breaker lets one caller through, and the next
    /// only when another such time has passed, or that call succeeded.
    pub(super) fn admits(&self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> bool {
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
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = Breaker::new(Duration::from_secs(60));
        for _ in 0..3 {
            breaker.failed();
            breaker.failed();
            breaker.succeeded();
        }
        assert!(breaker.admits() && breaker.is_closed());
        for _ in 0..FAILURES {
            breaker.failed();
        }
        assert!(!breaker.admits() && !breaker.is_closed());
    }

    #[test]
    fn one_call_finds_out_and_closes_it_by_its_success() {
        let minute = Duration::from_secs(60);
        let breaker = Breaker::new(minute);
        let begun = Instant::now();
        for _ in 0..FAILURES {
            breaker.failed_at(begun);
        }
        assert!(!breaker.admits_at(begun + minute - Duration::from_millis(1)));
        let later = begun + minute;
        assert!(breaker.admits_at(later), "its time is over");
        assert!(!breaker.admits_at(later), "one is enough");
        breaker.failed_at(later + Duration::from_secs(1));
        assert!(!breaker.admits_at(later + minute), "it counts from the failure");
        assert!(breaker.admits_at(later + minute + Duration::from_secs(1)));
        breaker.succeeded();
        assert!(breaker.admits() && breaker.admits() && breaker.is_closed());
    }
}
