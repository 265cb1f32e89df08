//! Postgres: one module per aggregate, with the SQL next to the function that runs it.
//!
//! A [`Statement`] is a constant with its SQL, its named parameters and the struct of its rows, which is read by column
//! name. A test prepares all of them and compares their columns with the structs.
//!
//! ```ignore
//! row! {
//!     struct Found {
//!         id: Uuid,
//!         status: Status = "delivery_status",
//!     }
//! }
//!
//! const FIND: Statement<Found> = Statement::new(
//!     "find a message",
//!     "select id, delivery_status from sms_messages where twilio_sid = $twilio_sid",
//! );
//!
//! // The list for the test.
//! statements!(FIND);
//!
//! let found = db.query_idempotent(&FIND, &params! { twilio_sid }).await?;
//! ```
//!
//! Every statement runs with typed parameters, in one round trip, because transaction poolers (Supabase, RDS Proxy,
//! pgbouncer) break named prepared statements. No result column has an enum or domain type, which would need another
//! query.

pub mod api_keys;
pub mod archives;
pub mod batches;
mod connect;
pub mod consent;
pub mod conversations;
pub mod deactivations;
pub mod deliveries;
pub mod erasure;
mod error;
pub mod events;
pub mod health;
mod held;
pub mod inbound;
mod locks;
pub mod maintenance;
pub mod media;
pub mod messages;
pub mod migrations;
pub mod notices;
pub mod partitions;
pub mod rate_limits;
pub mod reconciliation;
pub mod retention;
mod row;
pub mod senders;
pub mod sends;
pub mod spool;
mod statement;
pub mod statuses;
pub mod stream_tokens;
pub mod subscriptions;
pub mod templates;
pub mod tenants;
mod tls;
mod types;

pub use connect::DatabaseConfig;
pub use error::{DbError, PostgresError};
pub use held::Held;
pub use locks::LockWaits;
pub use row::{Column, ColumnError, FromRow, RowReader};
pub use statement::{Described, Param, ParameterError, Statement};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{Json, Type};
pub use types::{SqlParam, SqlType};

use crate::telemetry::traces::{Kind, Span};
use crate::telemetry::{self, Metric};
use deadpool_postgres::{Object, Pool};
use held::Busy;
use row::row;
use statement::{Bound, params, statements};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tls::Tls;
use tokio_postgres::error::SqlState;

/// The maximum idle time of a connection. After a thaw, a function may have a socket that the other side closed long
/// ago, and detecting that costs a whole timeout. Poolers close idle clients after minutes; a new connection costs
/// milliseconds.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The timeout of the connection at cold start. Lambda limits initialization to 10 s.
const WARM_UP_BUDGET: Duration = Duration::from_secs(5);

/// The pause before a retry if Postgres has no free connection.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// The timeout of a cancel request, for which the caller waits.
const CANCEL_BUDGET: Duration = Duration::from_millis(250);

/// The database: a small pool that connects on first use.
#[derive(Debug, Clone)]
pub struct Db {
    config: DatabaseConfig,
    /// Replaced when the password has changed. Clones share it.
    target: Arc<RwLock<Target>>,
    /// The timeout of a connection attempt.
    open_timeout: Duration,
    statement_timeout: Duration,
}

/// The connections with the URL of one version of the secrets.
#[derive(Debug, Clone)]
struct Target {
    pool: Pool,
    tls: Tls,
    version: u64,
}

impl Target {
    fn new(config: &DatabaseConfig, version: u64) -> Result<Self, DbError> {
        let tls = config.tls()?;
        Ok(Self { pool: config.pool(&tls)?, tls, version })
    }
}

impl Db {
    /// Creates the pool without connecting.
    ///
    /// # Errors
    ///
    /// [`DbError::Setup`] when the TLS configuration is invalid. The function must not start.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DbError> {
        let target = Target::new(config, config.secrets.version(connect::URL))?;
        let (open_timeout, statement_timeout) = (config.open_timeout, config.statement_timeout);
        Ok(Self {
            config: config.clone(),
            target: Arc::new(RwLock::new(target)),
            open_timeout,
            statement_timeout,
        })
    }

    fn target(&self) -> Target {
        self.target.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the connections if the secret has a newer URL than version `seen`. Returns whether it did.
    async fn renew(&self, seen: u64) -> bool {
        let Some(version) = self.config.secrets.renew(connect::URL, seen).await else { return false };
        if self.target().version >= version {
            return true;
        }
        let renewed = self.config.renewed().map(|config| Target::new(&config, version));
        let Some(Ok(target)) = renewed else {
            tracing::error!("the new DATABASE_URL of the secret is invalid");
            return false;
        };
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target;
        true
    }

    /// Connects during the cold start, so that the first event does not wait.
    ///
    /// A failure is only logged: Postgres may be available for the first event.
    pub async fn warm_up(&self) {
        let late = |_| DbError::TimedOut { operation: "connect", after: WARM_UP_BUDGET };
        let opened = tokio::time::timeout(WARM_UP_BUDGET, self.object("connect")).await;
        if let Err(error) = opened.map_err(late).flatten() {
            tracing::warn!(
                error = crate::error::chain(&error),
                "could not connect to Postgres at cold start"
            );
        }
    }

    /// Returns a connection. Retries if Postgres has no free connection (it is slow, not down), and if it rejects a
    /// password that has changed in the secret.
    async fn object(&self, operation: &'static str) -> Result<Object, DbError> {
        let _ = self.target().pool.retain(|_, metrics| metrics.last_used() < MAX_IDLE);
        let opened = async {
            loop {
                let target = self.target();
                match target.pool.get().await.map_err(PostgresError::from) {
                    Err(error) if error.is_out_of_connections() => tokio::time::sleep(FULL_PAUSE).await,
                    Err(error) if error.is_refused() && self.renew(target.version).await => {}
                    outcome => return outcome.map_err(|source| DbError::Connect { operation, source }),
                }
            }
        };
        // Waits for a used connection as long as its statement may take.
        let after = self.open_timeout + self.statement_timeout;
        let late = |_| DbError::TimedOut { operation, after };
        tokio::time::timeout(after, opened).await.map_err(late)?
    }

    /// Runs a statement and returns its rows. There is no retry, because a failed statement may have taken effect.
    ///
    /// # Errors
    ///
    /// [`DbError`] with the operation. [`DbError::is_unavailable`] returns whether a retry may succeed.
    pub async fn query<R: FromRow>(
        &self,
        statement: &Statement<R>,
        params: &[Param<'_>],
    ) -> Result<Vec<R>, DbError> {
        statement.read(&self.run(&statement.bind(params)?).await?)
    }

    /// Runs a statement that must not take effect after its caller has timed out. It is committed in a second round
    /// trip, after its response. If the server stalls and continues later, the connection is closed and the statement
    /// is rolled back.
    ///
    /// # Errors
    ///
    /// See [`Db::query`]. The statement may have taken effect only if the connection failed or timed out during the
    /// commit, or with [`DbError::Decode`].
    pub async fn query_confirmed<R: FromRow>(
        &self,
        statement: &Statement<R>,
        params: &[Param<'_>],
    ) -> Result<Vec<R>, DbError> {
        statement.read(&self.run_confirmed(&statement.bind(params)?).await?)
    }

    /// Runs an idempotent statement. Retries once on a new connection if the first one is dead, for example after a
    /// thaw.
    ///
    /// # Errors
    ///
    /// See [`Db::query`].
    pub async fn query_idempotent<R: FromRow>(
        &self,
        statement: &Statement<R>,
        params: &[Param<'_>],
    ) -> Result<Vec<R>, DbError> {
        statement.read(&self.run_idempotent(&statement.bind(params)?).await?)
    }

    /// Runs an idempotent join in which `A` is the same in all rows. Returns it with the `B` of each row that has one;
    /// nothing if there is no row.
    ///
    /// # Errors
    ///
    /// See [`Db::query_idempotent`].
    pub async fn query_joined<A: FromRow, B: FromRow>(
        &self,
        statement: &Statement<(A, Option<B>)>,
        params: &[Param<'_>],
    ) -> Result<Option<(A, Vec<B>)>, DbError> {
        statement.read_joined(&self.run_idempotent(&statement.bind(params)?).await?)
    }

    async fn run_confirmed(&self, bound: &Bound<'_>) -> Result<Vec<Row>, DbError> {
        let _latency = Latency::start();
        // After an error, closing the connection ends the transaction.
        let busy = Busy::new(self.object(bound.operation).await?);
        let transaction = async {
            // Both are sent at once, in this order.
            let statement = busy.query_typed(&bound.sql, &bound.params);
            let (begun, rows) = tokio::join!(busy.batch_execute("begin"), statement);
            begun?;
            let rows = rows?;
            busy.batch_execute("commit").await?;
            Ok(rows)
        };
        let rows = self.in_time(bound.operation, &busy, transaction).await?;
        busy.reuse();
        Ok(rows)
    }

    async fn run_idempotent(&self, bound: &Bound<'_>) -> Result<Vec<Row>, DbError> {
        match self.run(bound).await {
            Err(error) if error.is_connection_lost() || error.is_deadlock() => {
                tracing::info!(
                    operation = bound.operation,
                    error = crate::error::chain(&error),
                    "retrying on a new connection"
                );
                telemetry::count(Metric::DatabaseRetries, 1);
                if error.is_connection_lost() {
                    // After a thaw, the other connections are dead too.
                    let _ = self.target().pool.retain(|_, _| false);
                }
                self.run(bound).await
            }
            outcome => outcome,
        }
    }

    async fn run(&self, bound: &Bound<'_>) -> Result<Vec<Row>, DbError> {
        let _latency = Latency::start();
        let busy = Busy::new(self.object(bound.operation).await?);
        let statement = busy.query_typed(&bound.sql, &bound.params);
        let outcome = self.in_time(bound.operation, &busy, statement).await;
        let is_usable = match &outcome {
            Ok(_) => true,
            // The pool may not have detected the lost connection yet.
            Err(error) => matches!(error, DbError::Query { .. }) && !error.is_connection_lost(),
        };
        if is_usable {
            busy.reuse();
        }
        outcome
    }

    /// Waits for a response for at most the statement timeout.
    ///
    /// After the timeout, sends a cancel request, so that the statement does not take effect later.
    async fn in_time<T>(
        &self,
        operation: &'static str,
        busy: &Busy,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        let span = Span::child(Kind::Client, || operation.into());
        span.set("db.system.name", "postgresql");
        span.set("db.operation.name", operation);
        match span.wrap(tokio::time::timeout(self.statement_timeout, answer)).await {
            Ok(answer) => answer.map_err(|source| {
                span.fail(source.code().map_or("connection", SqlState::code));
                DbError::query(operation, source)
            }),
            Err(_) => {
                span.fail("timeout");
                self.target().tls.cancel(&busy.cancel_token(), CANCEL_BUDGET).await;
                Err(DbError::TimedOut { operation, after: self.statement_timeout })
            }
        }
    }

    /// Runs a script of several statements, such as a migration, in one transaction.
    ///
    /// # Errors
    ///
    /// [`DbError`]. The script had no effect, unless the connection failed or timed out during the commit.
    pub(crate) async fn script(&self, operation: &'static str, sql: &str) -> Result<(), DbError> {
        self.batch(operation, &format!("begin; {sql}; commit")).await
    }

    /// Runs a statement outside a transaction.
    ///
    /// # Errors
    ///
    /// [`DbError`]. Partial effects of the statement may remain.
    pub(crate) async fn batch(&self, operation: &'static str, sql: &str) -> Result<(), DbError> {
        // After an error, closing the connection ends an open transaction.
        let busy = Busy::new(self.object(operation).await?);
        self.in_time(operation, &busy, busy.batch_execute(sql)).await?;
        busy.reuse();
        Ok(())
    }

    /// Checks that Postgres responds.
    ///
    /// # Errors
    ///
    /// [`DbError`] if it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.query_idempotent(&Statement::<()>::new("ping", "select"), &[]).await.map(drop)
    }
}

/// Records the time of a statement when it is dropped, so also of one that fails or whose caller stops waiting.
struct Latency(Instant);

impl Latency {
    fn start() -> Self {
        Self(Instant::now())
    }
}

impl Drop for Latency {
    fn drop(&mut self) {
        telemetry::record(Metric::DatabaseLatency, self.0.elapsed().as_secs_f64() * 1_000.0);
    }
}

/// Returns every statement, for the test against the schema.
#[must_use]
pub fn all_statements() -> Vec<Described> {
    let modules = [
        api_keys::STATEMENTS,
        archives::STATEMENTS,
        batches::STATEMENTS,
        conversations::STATEMENTS,
        deactivations::STATEMENTS,
        deliveries::STATEMENTS,
        erasure::STATEMENTS,
        events::STATEMENTS,
        health::STATEMENTS,
        inbound::STATEMENTS,
        maintenance::STATEMENTS,
        consent::STATEMENTS,
        notices::STATEMENTS,
        media::STATEMENTS,
        messages::STATEMENTS,
        migrations::STATEMENTS,
        partitions::STATEMENTS,
        rate_limits::STATEMENTS,
        reconciliation::STATEMENTS,
        retention::STATEMENTS,
        senders::STATEMENTS,
        spool::STATEMENTS,
        statuses::STATEMENTS,
        subscriptions::STATEMENTS,
        stream_tokens::STATEMENTS,
        templates::STATEMENTS,
    ];
    let modules = modules.iter().chain(sends::STATEMENTS).chain(tenants::STATEMENTS);
    modules.copied().flatten().copied().collect()
}
