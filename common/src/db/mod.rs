//! Postgres: one module per aggregate, SQL beside the function that runs it.
//!
//! Every statement goes through [`Db::query`] with the types of its parameters, in one round trip: a transaction
//! pooler (Supabase's, RDS Proxy, pgbouncer) breaks named prepared statements. For the same reason no result column
//! has an enum or domain type, which would need a catalogue query first.

pub mod api_keys;
mod connect;
pub mod conversations;
mod error;
pub mod health;
mod held;
pub mod inbound;
pub mod maintenance;
pub mod messages;
pub mod migrations;
pub mod reconciliation;
pub mod senders;
pub mod sends;
pub mod spool;
pub mod statuses;
pub mod tenants;
mod tls;

pub use connect::DatabaseConfig;
pub use error::{DbError, PostgresError};
pub use held::Held;
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{Json, ToSql, Type};

use deadpool_postgres::{Object, Pool};
use held::Busy;
use std::time::Duration;
use tls::Tls;

/// A parameter with its Postgres type.
pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection that lay unused for longer is closed rather than used: a frozen function may thaw with a socket that
/// the other side has long forgotten, and finding that out costs a whole timeout. Poolers close idle clients after
/// minutes; a new connection costs milliseconds.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// How long a function waits for Postgres before its first event. Lambda ends an initialization after 10 s.
const WARM_UP_BUDGET: Duration = Duration::from_secs(5);

/// The pause before the next try when Postgres has no connection to spare.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// How long telling Postgres to give a statement up may take: it is a courtesy that the caller waits for.
const CANCEL_BUDGET: Duration = Duration::from_millis(250);

/// The database: a small pool that connects when it is first used.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Pool,
    tls: Tls,
    /// How long one connection may take, in all.
    open_timeout: Duration,
    statement_timeout: Duration,
}

impl Db {
    /// Prepares the pool; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`DbError::Setup`] when the TLS configuration can't be made: the function must not start.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DbError> {
        let tls = config.tls()?;
        let (open_timeout, statement_timeout) = (config.open_timeout, config.statement_timeout);
        Ok(Self { pool: config.pool(&tls)?, tls, open_timeout, statement_timeout })
    }

    /// Opens a connection ahead of its use, so that the first event does not wait for it.
    ///
    /// A failure is logged and no more: Postgres may be back when the first event comes.
    pub async fn warm_up(&self) {
        let late = |_| DbError::TimedOut { operation: "connect", after: WARM_UP_BUDGET };
        let opened = tokio::time::timeout(WARM_UP_BUDGET, self.object("connect")).await;
        if let Err(error) = opened.map_err(late).flatten() {
            tracing::warn!(error = crate::error::chain(&error), "Postgres cannot be reached at start");
        }
    }

    /// Returns a connection. A Postgres that answers but has none to spare is slow, not down: it is asked again.
    async fn object(&self, operation: &'static str) -> Result<Object, DbError> {
        let _ = self.pool.retain(|_, metrics| metrics.last_used() < MAX_IDLE);
        let opened = async {
            loop {
                match self.pool.get().await.map_err(PostgresError::from) {
                    Err(error) if error.is_out_of_connections() => tokio::time::sleep(FULL_PAUSE).await,
                    outcome => return outcome.map_err(|source| DbError::Connect { operation, source }),
                }
            }
        };
        // A connection that is in use is waited for as long as its statement may take.
        let after = self.open_timeout + self.statement_timeout;
        let late = |_| DbError::TimedOut { operation, after };
        tokio::time::timeout(after, opened).await.map_err(late)?
    }

    /// Runs one statement and returns its rows. It is run once: a failure may have come after its effect.
    ///
    /// # Errors
    ///
    /// [`DbError`], naming `operation`; [`DbError::is_transient`] tells whether the same may succeed later.
    pub async fn query(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let object = self.object(operation).await?;
        self.run(object, operation, sql, params).await
    }

    /// Runs a statement whose effect must not outlive its caller's patience: it is committed only once its answer has
    /// come, by a second round trip. A server that falls silent and later goes on with what it was sent then finds the
    /// connection gone, and rolls back; a statement of its own it would still commit, for nobody.
    ///
    /// # Errors
    ///
    /// As [`Db::query`]; only when the connection broke, or timed out, within the commit may it be done all the same.
    pub async fn query_confirmed(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, DbError> {
        // Whatever goes wrong, the open transaction ends with its connection.
        let busy = Busy::new(self.object(operation).await?);
        let transaction = async {
            // Both are written at once, in this order.
            let (begun, rows) = tokio::join!(busy.batch_execute("begin"), busy.query_typed(sql, params));
            begun?;
            let rows = rows?;
            busy.batch_execute("commit").await?;
            Ok(rows)
        };
        let rows = self.in_time(operation, &busy, transaction).await?;
        busy.reuse();
        Ok(rows)
    }

    /// Runs a statement that may be run twice without harm, and runs it again on a fresh connection when the first
    /// one turns out to be dead, as one of a thawed function may be.
    ///
    /// # Errors
    ///
    /// As [`Db::query`].
    pub async fn query_idempotent(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, DbError> {
        match self.query(operation, sql, params).await {
            Err(error) if error.is_connection_lost() || error.is_deadlock() => {
                tracing::info!(operation, error = crate::error::chain(&error), "once more");
                if error.is_connection_lost() {
                    // What one of a thawed function's connections suffered, the others have suffered too.
                    let _ = self.pool.retain(|_, _| false);
                }
                self.query(operation, sql, params).await
            }
            outcome => outcome,
        }
    }

    async fn run(
        &self,
        object: Object,
        operation: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let busy = Busy::new(object);
        let outcome = self.in_time(operation, &busy, busy.query_typed(sql, params)).await;
        let is_usable = match &outcome {
            Ok(_) => true,
            // The pool may not have noticed yet that a connection was lost, and would hand it out once more.
            Err(error) => matches!(error, DbError::Query { .. }) && !error.is_connection_lost(),
        };
        if is_usable {
            busy.reuse();
        }
        outcome
    }

    /// Waits for the answer of one connection for at most the statement timeout.
    ///
    /// After that the statement may still be running, or wait for a lock. Postgres is asked to cancel it, so that it does not
    /// take effect after its caller has timed out.
    async fn in_time<T>(
        &self,
        operation: &'static str,
        busy: &Busy,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        match tokio::time::timeout(self.statement_timeout, answer).await {
            Ok(answer) => answer.map_err(|source| DbError::query(operation, source)),
            Err(_) => {
                self.tls.cancel(&busy.cancel_token(), CANCEL_BUDGET).await;
                Err(DbError::TimedOut { operation, after: self.statement_timeout })
            }
        }
    }

    /// Runs a script of several statements, as a migration is, within one transaction.
    ///
    /// # Errors
    ///
    /// [`DbError`]; nothing of the script has then been done, unless the connection broke, or timed out, within the commit.
    pub(crate) async fn script(&self, operation: &'static str, sql: &str) -> Result<(), DbError> {
        self.batch(operation, &format!("begin; {sql}; commit")).await
    }

    /// Runs one statement that must not run within a transaction.
    ///
    /// # Errors
    ///
    /// [`DbError`]; what the statement did until then may stay.
    pub(crate) async fn batch(&self, operation: &'static str, sql: &str) -> Result<(), DbError> {
        // After a failure a transaction may be open: it ends with its connection.
        let busy = Busy::new(self.object(operation).await?);
        self.in_time(operation, &busy, busy.batch_execute(sql)).await?;
        busy.reuse();
        Ok(())
    }

    /// Tells whether Postgres answers.
    ///
    /// # Errors
    ///
    /// [`DbError`] when it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.query_idempotent("ping", "select 1", &[]).await.map(drop)
    }
}
