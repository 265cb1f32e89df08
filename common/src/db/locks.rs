//! Lock timeouts and retries of statements that block all others on a table.

use super::{Db, DbError};
use crate::clock;
use crate::error::chain;
use std::time::{Duration, Instant};

/// Timeouts of statements that lock a table against all others, such as those of migrations.
#[derive(Debug, Clone, Copy)]
pub struct LockWaits {
    /// The `lock_timeout` of a statement. While it waits, later statements on the table wait too, so it must be shorter
    /// than the database timeouts of the API.
    pub lock_timeout: Duration,
    /// The pause before a retry, in which other statements continue.
    pub pause: Duration,
    /// The total time for retries.
    pub retry_for: Duration,
}

impl Default for LockWaits {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_millis(500),
            pause: Duration::from_secs(2),
            retry_for: Duration::from_secs(120),
        }
    }
}

impl LockWaits {
    /// Returns the statement that sets the timeout for a transaction.
    pub(super) fn set(&self) -> String {
        format!("set local lock_timeout = {}", self.lock_timeout.as_millis())
    }

    /// Runs a script in a transaction, and again after a lock timeout or a deadlock.
    pub(super) async fn transaction(
        self,
        db: &Db,
        operation: &'static str,
        script: &str,
    ) -> Result<(), DbError> {
        let script = format!("{}; {script}", self.set());
        LockRetries::new(operation, self).script(db, operation, &script).await
    }
}

/// Retries of a transaction that did not get its locks.
pub(super) struct LockRetries {
    /// For the log.
    task: &'static str,
    waits: LockWaits,
    begun: Instant,
}

impl LockRetries {
    pub(super) fn new(task: &'static str, waits: LockWaits) -> Self {
        Self { task, waits, begun: Instant::now() }
    }

    pub(super) async fn script(&self, db: &Db, operation: &'static str, script: &str) -> Result<(), DbError> {
        while let Err(error) = db.script(operation, script).await {
            self.pause(error).await?;
        }
        Ok(())
    }

    /// Waits before the next attempt. Returns the error if it is not a lock timeout or the time is over.
    pub(super) async fn pause(&self, error: DbError) -> Result<(), DbError> {
        let is_about_a_lock = error.is_lock_timeout() || error.is_deadlock();
        if !is_about_a_lock || self.begun.elapsed() >= self.waits.retry_for {
            return Err(error);
        }
        tracing::warn!(task = self.task, error = chain(&error), "retrying after a lock timeout");
        // With jitter, to avoid meeting the same periodic statement again.
        tokio::time::sleep(self.waits.pause.mul_f64(0.5 + clock::random_fraction())).await;
        Ok(())
    }
}
