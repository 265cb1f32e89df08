//! Timeouts while Postgres does not respond.

use common::config::Env;
use common::db::LockWaits;
use common::db::migrations;
use common::db::{Column, ColumnError, DatabaseConfig, Db, DbError, FromRow, RowReader, Statement};
use std::time::Duration;
use testing::{Database, eventually};

/// Much shorter than the wait of a statement for the test's lock, and long enough for slow machines.
const DEADLINE: Duration = Duration::from_secs(60);

/// A table with inserts that wait for the test's lock at commit.
const SLOW_COMMIT: &str = "
create table t (a int);
create function wait() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock(1); return null; end $$;
create constraint trigger wait after insert on t deferrable initially deferred for each row execute function wait();
select pg_advisory_lock(1)";

/// The number of other running statements.
const OTHERS: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
    and backend_type = 'client backend' and state = 'active'";

fn with_short_timeouts(database: &Database) -> Db {
    let url = database.url();
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.clone()),
        "DATABASE_CONNECT_TIMEOUT_MS" => Some("60000".to_owned()),
        "DATABASE_STATEMENT_TIMEOUT_MS" => Some("2000".to_owned()),
        _ => None,
    };
    Db::new(&DatabaseConfig::from_env(&mut Env::new(&lookup)).unwrap()).unwrap()
}

/// The process of a connection.
struct Backend {
    pid: i32,
}

impl FromRow for Backend {
    fn columns() -> Vec<Column> {
        vec![Column::of::<i32>("pid")]
    }

    fn from_row(row: &mut RowReader<'_>) -> Result<Self, ColumnError> {
        Ok(Self { pid: row.read_next()? })
    }
}

const BACKEND: Statement<Backend> = Statement::new("read the process id", "select pg_backend_pid() as pid");

async fn backend(db: &Db) -> i32 {
    db.query(&BACKEND, &[]).await.unwrap()[0].pid
}

#[tokio::test]
async fn a_transaction_whose_commit_hangs_is_released_and_its_connection_closed() {
    let database = Database::create().await;
    database.client.batch_execute(SLOW_COMMIT).await.unwrap();
    let db = with_short_timeouts(&database);
    let insert: Statement<Backend> =
        Statement::new("hold a transaction", "insert into t values ($a) returning pg_backend_pid() as pid");
    let (rows, held) = db.query_held(&insert, &[("a", &1_i32)]).await.unwrap();
    tokio::time::timeout(DEADLINE, held.release()).await.expect("the release hangs");
    assert_ne!(backend(&db).await, rows[0].pid, "the hanging connection is not reused");
    eventually("the transaction has ended", async || (database.scalar(OTHERS).await == "0").then_some(()))
        .await;
    assert_eq!(database.scalar("select count(*) from t").await, "0");
}

#[tokio::test]
async fn a_released_transaction_returns_its_connection() {
    let database = Database::create().await;
    let db = with_short_timeouts(&database);
    let (rows, held) = db.query_held(&BACKEND, &[]).await.unwrap();
    held.release().await;
    assert_eq!(backend(&db).await, rows[0].pid);
}

#[tokio::test]
async fn a_migration_that_hangs_fails_after_the_statement_timeout() {
    let database = Database::create().await;
    database.client.batch_execute("create table t (a int); select pg_advisory_lock(1)").await.unwrap();
    let locker = testing::connect(&database.url()).await;
    locker.batch_execute("begin; lock table t").await.unwrap();
    let db = with_short_timeouts(&database);
    for sql in [
        "create table u (a int); select pg_advisory_xact_lock(1);\n",
        "-- transaction: none\nselect pg_advisory_xact_lock(1);\n",
        "-- transaction: none\ncreate index concurrently if not exists t_a on t (a);\n",
    ] {
        let waits = LockWaits { lock_timeout: Duration::from_secs(120), ..LockWaits::default() };
        let migration = [("9999_hangs", sql)];
        let migrated = tokio::time::timeout(DEADLINE, migrations::apply(&db, &migration, waits)).await;
        let error = migrated.expect("the migration hangs").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<DbError>();
        assert!(matches!(source, Some(DbError::TimedOut { .. })), "{error:?}");
        eventually("its statement is cancelled", async || {
            (database.scalar(OTHERS).await == "0").then_some(())
        })
        .await;
    }
    assert_eq!(database.scalar("select to_regclass('u') is null").await, "t");
}
