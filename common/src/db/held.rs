//! Transactions that stay open while something else is done, for what they lock.

use super::{CANCEL_BUDGET, Db, DbError, Object, Param, Row};
use scopeguard::ScopeGuard;

type Busy = ScopeGuard<Object, fn(Object)>;

/// An open transaction. It ends when it is released; if it is dropped, its connection ends with it.
pub struct Held {
    busy: Busy,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl Held {
    /// Ends the transaction. Where that fails, its connection is gone, and the transaction with it.
    pub async fn release(self) {
        if self.busy.batch_execute("commit").await.is_ok() {
            drop(ScopeGuard::into_inner(self.busy));
        }
    }
}

impl Db {
    /// Runs a statement in a transaction that stays open, in one round trip; once more on a fresh connection when the first
    /// one turns out to be dead.
    ///
    /// # Errors
    ///
    /// As [`Db::query`]; no transaction is open then.
    pub async fn query_held(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<(Vec<Row>, Held), DbError> {
        match self.begin(operation, sql, params).await {
            Err(error) if error.is_connection_lost() || error.is_deadlock() => {
                let _ = self.pool.retain(|_, _| false);
                self.begin(operation, sql, params).await
            }
            outcome => outcome,
        }
    }

    /// Runs a script in a transaction that stays open.
    ///
    /// By the simple protocol: after [`Db::query_held`] the transaction keeps the snapshot of its statement, for which
    /// `create index concurrently` would wait.
    ///
    /// # Errors
    ///
    /// As [`Db::query`]; no transaction is open then.
    pub(crate) async fn script_held(&self, operation: &'static str, sql: &str) -> Result<Held, DbError> {
        let discard: fn(Object) = |object| drop(Object::take(object));
        let busy = scopeguard::guard(self.object(operation).await?, discard);
        let script = format!("begin isolation level read committed; {sql}");
        match tokio::time::timeout(self.statement_timeout, busy.batch_execute(&script)).await {
            Ok(Ok(())) => Ok(Held { busy }),
            Ok(Err(source)) => Err(DbError::query(operation, source)),
            Err(_) => {
                self.tls.cancel(&busy.cancel_token(), CANCEL_BUDGET).await;
                Err(DbError::TimedOut { operation, after: self.statement_timeout })
            }
        }
    }

    async fn begin(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<(Vec<Row>, Held), DbError> {
        let discard: fn(Object) = |object| drop(Object::take(object));
        let busy = scopeguard::guard(self.object(operation).await?, discard);
        let transaction = async {
            // Both are written at once, in this order.
            let begin = busy.batch_execute("begin isolation level read committed");
            let (begun, rows) = tokio::join!(begin, busy.query_typed(sql, params));
            begun?;
            rows
        };
        match tokio::time::timeout(self.statement_timeout, transaction).await {
            Ok(Ok(rows)) => Ok((rows, Held { busy })),
            Ok(Err(source)) => Err(DbError::query(operation, source)),
            Err(_) => {
                self.tls.cancel(&busy.cancel_token(), CANCEL_BUDGET).await;
                Err(DbError::TimedOut { operation, after: self.statement_timeout })
            }
        }
    }
}
