//! Limits each part of a scheduled run to its share of the run's time.

use crate::{error, telemetry};
use std::error::Error;
use std::time::{Duration, Instant};

/// A part of a run.
#[derive(Debug)]
pub struct Part {
    /// Its name in the log.
    pub name: &'static str,
    /// Its share of the run's time, relative to the shares of the others.
    pub share: u32,
}

/// A run of several parts. If one fails, the others still run.
#[derive(Debug)]
pub struct Run {
    budget: Duration,
    shares: u32,
    failures: usize,
}

impl Run {
    /// Begins a run of these parts, which together take at most `budget`.
    #[must_use]
    pub fn new(budget: Duration, parts: &[Part]) -> Self {
        Self { budget, shares: parts.iter().map(|part| part.share).sum(), failures: 0 }
    }

    /// Runs a part for its share of the time (see [`run`]), and counts and logs its failure.
    pub async fn part<T: Default, E: From<PartTimedOut> + Error + 'static>(
        &mut self,
        part: &Part,
        work: impl AsyncFnOnce(Instant) -> Result<T, E>,
    ) -> T {
        run(self.budget * part.share / self.shares, work).await.unwrap_or_else(|error| {
            let error = error::chain(&error);
            telemetry::count_error("part_failed");
            tracing::error!(part = part.name, error, "sweep part failed");
            self.failures += 1;
            T::default()
        })
    }

    /// Returns how many parts have failed.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failures
    }
}

/// A part was stopped at the end of its share.
#[derive(Debug, thiserror::Error)]
#[error("timed out after {} ms", .0.as_millis())]
pub struct PartTimedOut(Duration);

/// Runs a part for at most `share`. The part gets the time until which it may start new work: half of the share, so
/// that work in progress can finish.
///
/// # Errors
///
/// The part's own error, or [`PartTimedOut`]. The next run continues with what was not done.
pub async fn run<T, E: From<PartTimedOut>>(
    share: Duration,
    part: impl AsyncFnOnce(Instant) -> Result<T, E>,
) -> Result<T, E> {
    // Boxed: parts contain the deeply nested futures of the AWS SDK, whose layout exceeds the compiler's depth limit.
    let part = Box::pin(part(Instant::now() + share / 2));
    match tokio::time::timeout(share, part).await {
        Ok(result) => result,
        Err(_) => Err(PartTimedOut(share).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_does_not_end_is_stopped() {
        let outcome = run(Duration::from_millis(1), async |_| {
            std::future::pending::<()>().await;
            Ok::<(), PartTimedOut>(())
        })
        .await;
        assert_eq!(outcome.unwrap_err().to_string(), "timed out after 1 ms");
    }

    #[tokio::test]
    async fn a_part_starts_work_in_the_first_half_of_its_share() {
        let share = Duration::from_secs(60);
        let until = run(share, async |until| Ok::<_, PartTimedOut>(until)).await.unwrap();
        let left = until - Instant::now();
        assert!(left > share / 2 - Duration::from_secs(5) && left <= share / 2, "{left:?}");
    }
}
