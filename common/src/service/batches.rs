//! Writes rows in one statement, or one by one if Postgres rejects the data of one of them.

use crate::db::DbError;
use crate::queue::{Batch, Record};
use std::ops::Range;

/// The result of [`write()`].
#[derive(Debug)]
pub struct Written<R> {
    /// What the successful statements returned.
    pub rows: Vec<R>,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Failure {
    /// The positions of the items of the failed statement.
    items: Range<usize>,
    error: DbError,
}

/// Writes items in one statement. If Postgres rejects it because of the data, each item is written in its own
/// statement, so that only the invalid ones fail.
pub async fn write<T, R>(
    items: &[T],
    statement: impl AsyncFn(&[T]) -> Result<Vec<R>, DbError>,
) -> Written<R> {
    let mut written = Written { rows: Vec::new(), failures: Vec::new() };
    if items.is_empty() {
        return written;
    }
    match statement(items).await {
        Ok(rows) => written.rows = rows,
        Err(error) if items.len() > 1 && error.is_about_the_data() => {
            for (position, item) in items.iter().enumerate() {
                match statement(std::slice::from_ref(item)).await {
                    Ok(rows) => written.rows.extend(rows),
                    Err(error) => {
                        written.failures.push(Failure { items: position..position + 1, error });
                    }
                }
            }
        }
        Err(error) => written.failures.push(Failure { items: 0..items.len(), error }),
    }
    written
}

impl<R> Written<R> {
    /// Returns whether the item at a position was written.
    #[must_use]
    pub fn is_written(&self, position: usize) -> bool {
        !self.failures.iter().any(|failure| failure.items.contains(&position))
    }

    /// Marks the queue records of the items that were not written as failed. `records` are in the order of the items.
    pub fn fail_records<M>(&self, batch: &mut Batch<M>, records: &[&Record<M>]) {
        for Failure { items, error } in &self.failures {
            for record in records.get(items.clone()).unwrap_or_default() {
                if error.is_about_the_data() {
                    batch.fail_permanently(&record.sqs_message_id, &record.request_id, error);
                } else {
                    batch.fail(&record.sqs_message_id, &record.request_id, error);
                }
            }
        }
    }

    /// Returns the positions of the items whose data Postgres rejected.
    ///
    /// # Errors
    ///
    /// The first [`DbError`] with another cause. The items are worth writing again.
    pub fn into_rejected(self) -> Result<Vec<(usize, DbError)>, DbError> {
        let rejected = self.failures.into_iter().map(|Failure { items, error }| {
            if error.is_about_the_data() { Ok((items.start, error)) } else { Err(error) }
        });
        rejected.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    fn timed_out() -> DbError {
        DbError::TimedOut { operation: "write rows", after: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn a_batch_is_written_in_one_statement() {
        let statements = Cell::new(0);
        let written = write(&[1, 2, 3], async |items: &[i32]| {
            statements.set(statements.get() + 1);
            Ok(items.to_vec())
        })
        .await;
        assert_eq!((written.rows.as_slice(), statements.get()), (&[1, 2, 3][..], 1));
        assert!((0..3).all(|position| written.is_written(position)));
        assert!(written.into_rejected().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_empty_batch_needs_no_statement() {
        let written = write(&[], async |_: &[i32]| -> Result<Vec<i32>, _> { Err(timed_out()) }).await;
        assert!(written.into_rejected().unwrap().is_empty());
    }

    #[tokio::test]
    async fn items_are_not_written_one_by_one_when_postgres_is_unavailable() {
        let statements = Cell::new(0);
        let written = write(&[1, 2, 3], async |_: &[i32]| -> Result<Vec<i32>, _> {
            statements.set(statements.get() + 1);
            Err(timed_out())
        })
        .await;
        assert_eq!(statements.get(), 1);
        assert!(!(0..3).any(|position| written.is_written(position)));
        assert!(matches!(written.into_rejected(), Err(DbError::TimedOut { .. })));
    }
}
