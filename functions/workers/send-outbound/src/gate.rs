//! Keeps STOPs and calls to Twilio apart: a STOP is recorded either before a call begins, which then does not, or after it
//! was made.

use common::db::Held;
use common::twilio::MAX_CONNECT_TIMEOUT;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// How long a STOP waits for a call that has begun, at most: longer than a call can take until it is on its way, and much
/// less than a hanging one takes.
const HOLD: Duration = Duration::from_millis(1_250);
/// How long after the gate a call must begin, so that it is on its way while STOPs are held back.
const BEGIN: Duration = Duration::from_millis(250);
const _: () = assert!(BEGIN.as_millis() + MAX_CONNECT_TIMEOUT.as_millis() <= HOLD.as_millis());

/// Calls that passed the gate together, this moment.
pub(crate) struct Gate {
    passed: Instant,
    answered: Semaphore,
    is_open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn passed() -> Self {
        Self { passed: Instant::now(), answered: Semaphore::new(0), is_open: watch::Sender::new(false) }
    }

    /// Whether it was passed too long ago for a call to begin, as when the function was stopped since.
    pub(crate) fn is_stale(&self) -> bool {
        self.passed.elapsed() > BEGIN
    }

    /// Holds STOPs back until so many calls have been answered, or for as long as they may be held.
    pub(crate) async fn hold(&self, held: Held, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(HOLD, self.answered.acquire_many(calls)).await;
        held.release().await;
        self.is_open.send_replace(true);
    }

    /// Says that one more call has been answered.
    pub(crate) fn answered(&self) {
        self.answered.add_permits(1);
    }

    /// Waits until STOPs can be recorded.
    pub(crate) async fn opened(&self) {
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_right_after_its_gate_or_not_at_all() {
        assert!(!Gate::passed().is_stale());
        let passed = Instant::now().checked_sub(BEGIN).unwrap();
        assert!(Gate { passed, ..Gate::passed() }.is_stale());
    }
}
