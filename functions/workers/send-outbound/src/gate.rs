//! Orders STOPs and create requests: a STOP is recorded either before a request starts, which is then not made, or
//! after the request was sent.

use common::db::Held;
use common::twilio::MAX_CONNECT_TIMEOUT;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// The maximum time for which a STOP waits for requests: longer than sending a request takes, and much shorter than
/// waiting for the response of a request that hangs.
const HOLD: Duration = Duration::from_millis(1_250);
/// How soon after the gate a request must start, so that it is sent while STOPs wait.
const START_WITHIN: Duration = Duration::from_millis(250);
const _: () = assert!(START_WITHIN.as_millis() + MAX_CONNECT_TIMEOUT.as_millis() <= HOLD.as_millis());

/// Requests that passed the gate together.
pub(crate) struct Gate {
    passed: Instant,
    completed: Semaphore,
    is_open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn passed() -> Self {
        Self { passed: Instant::now(), completed: Semaphore::new(0), is_open: watch::Sender::new(false) }
    }

    /// Returns whether it is too late to start a request, for example because Lambda froze the function.
    pub(crate) fn is_stale(&self) -> bool {
        self.passed.elapsed() > START_WITHIN
    }

    /// Blocks STOPs until `calls` requests have completed, or until the maximum time.
    pub(crate) async fn hold(&self, held: Held, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(HOLD, self.completed.acquire_many(calls)).await;
        held.release().await;
        self.is_open.send_replace(true);
    }

    /// Counts a completed request.
    pub(crate) fn completed(&self) {
        self.completed.add_permits(1);
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
    fn a_request_starts_directly_after_its_gate_or_not_at_all() {
        assert!(!Gate::passed().is_stale());
        let passed = Instant::now().checked_sub(START_WITHIN).unwrap();
        assert!(Gate { passed, ..Gate::passed() }.is_stale());
    }
}
