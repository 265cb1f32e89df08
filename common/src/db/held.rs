//! Transactions that stay open to hold locks during other work.

use super::tls::Tls;
use super::{Bound, CANCEL_BUDGET, Db, DbError, FromRow, Object, Param, Row, Statement};
use scopeguard::ScopeGuard;
use std::ops::Deref;
use std::time::Duration;

/// The timeout of a commit that only releases locks: one round trip. Closing the connection also ends the transaction.
const RELEASE_BUDGET: Duration = Duration::from_secs(1);

/// A connection with a statement in progress. If there is no response, or if this is dropped, the connection is closed,
/// so that no other statement uses it.
pub(super) struct Busy(ScopeGuard<Object, fn(Object)>);

impl Busy {
    pub(super) fn new(object: Object) -> Self {
        Self(scopeguard::guard(object, |object| drop(Object::take(object))))
    }

    /// Returns the connection to the pool.
    pub(super) fn reuse(self) {
        drop(ScopeGuard::into_inner(self.0));
    }
}

impl Deref for Busy {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

/// An open transaction. Releasing it ends it. Dropping it closes the connection, which ends it too.
pub struct Held {
    busy: Busy,
    tls: Tls,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl Held {
    /// Ends the transaction. If Postgres does not confirm in time, the connection is closed.
    pub async fn release(self) {
        match tokio::time::timeout(RELEASE_BUDGET, self.busy.batch_execute("commit")).await {
            Ok(Ok(())) => self.busy.reuse(),
            Ok(Err(error)) => {
                let error = crate::error::chain(&DbError::query("end a transaction", error));
                tracing::warn!(error, "closing the connection of an open transaction");
            }
            Err(_) => {
                self.tls.cancel(&self.busy.cancel_token(), CANCEL_BUDGET).await;
                tracing::warn!("closing the connection after a commit timeout");
            }
        }
    }
}

impl Held {
    /// Runs a last statement and commits, in one round trip.
    ///
    /// # Errors
    ///
    /// See [`Db::query`]. If the connection was lost, the transaction may have been committed.
    pub async fn query_and_commit<R: FromRow>(
        self,
        db: &Db,
        statement: &Statement<R>,
        params: &[Param<'_>],
    ) -> Result<Vec<R>, DbError> {
        let bound = statement.bind(params)?;
        let transaction = async {
            // Both are sent at once, in this order. After an error, the commit is a rollback.
            let statement = self.busy.query_typed(&bound.sql, &bound.params);
            let (rows, committed) = tokio::join!(statement, self.busy.batch_execute("commit"));
            let rows = rows?;
            committed?;
            Ok(rows)
        };
        let rows = db.in_time(bound.operation, &self.busy, transaction).await?;
        self.busy.reuse();
        statement.read(&rows)
    }
}

impl Db {
    /// Runs a statement in a transaction that stays open, in one round trip. Retries once on a new connection if the
    /// first one is dead.
    ///
    /// # Errors
    ///
    /// See [`Db::query`]. No transaction is open then.
    pub async fn query_held<R: FromRow>(
        &self,
        statement: &Statement<R>,
        params: &[Param<'_>],
    ) -> Result<(Vec<R>, Held), DbError> {
        let (rows, held) = self.run_held(&statement.bind(params)?).await?;
        Ok((statement.read(&rows)?, held))
    }

    async fn run_held(&self, bound: &Bound<'_>) -> Result<(Vec<Row>, Held), DbError> {
        match self.begin(bound).await {
            Err(error) if error.is_connection_lost() || error.is_deadlock() => {
                let _ = self.target().pool.retain(|_, _| false);
                self.begin(bound).await
            }
            outcome => outcome,
        }
    }

    /// Runs a script in a transaction that stays open.
    ///
    /// Uses the simple protocol: after [`Db::query_held`], the transaction keeps the snapshot of its statement, and
    /// `create index concurrently` would wait for it.
    ///
    /// # Errors
    ///
    /// See [`Db::query`]. No transaction is open then.
    pub(crate) async fn script_held(&self, operation: &'static str, sql: &str) -> Result<Held, DbError> {
        let busy = Busy::new(self.object(operation).await?);
        let script = format!("begin isolation level read committed; {sql}");
        self.in_time(operation, &busy, busy.batch_execute(&script)).await?;
        Ok(self.held(busy))
    }

    async fn begin(&self, bound: &Bound<'_>) -> Result<(Vec<Row>, Held), DbError> {
        let busy = Busy::new(self.object(bound.operation).await?);
        let transaction = async {
            // Both are sent at once, in this order.
            let begin = busy.batch_execute("begin isolation level read committed");
            let (begun, rows) = tokio::join!(begin, busy.query_typed(&bound.sql, &bound.params));
            begun?;
            rows
        };
        let rows = self.in_time(bound.operation, &busy, transaction).await?;
        Ok((rows, self.held(busy)))
    }

    fn held(&self, busy: Busy) -> Held {
        Held { busy, tls: self.target().tls }
    }
}
