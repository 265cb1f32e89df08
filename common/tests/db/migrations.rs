use common::db::LockWaits;
use common::db::migrations::{apply, apply_functions};
use common::db::{DatabaseConfig, Db, migrations};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testing::{Database, eventually};
use tokio_postgres::{Client, NoTls};

#[tokio::test]
async fn a_second_run_applies_nothing() {
    let database = Database::create().await;
    assert!(migrations::migrate(&database.db()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_apply_each_migration_once() {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    let url = database.url();
    let runs = (0..4).map(|_| {
        let db = Db::new(&DatabaseConfig::for_url(&url)).unwrap();
        tokio::spawn(async move { migrations::migrate(&db).await.unwrap() })
    });
    let mut applied = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        applied.extend(run.await.unwrap());
    }
    let total = applied.len();
    applied.sort_unstable();
    applied.dedup();
    assert_eq!(applied.len(), total, "a migration was applied twice");
    assert_eq!(database.scalar("select count(*) from schema_migrations").await, total.to_string());
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_was_applied_fails() {
    let database = Database::create().await;
    database
        .client
        .batch_execute("update schema_migrations set checksum = 'x' where name like '0002%'")
        .await
        .unwrap();
    let error = migrations::migrate(&database.db()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 0002_opt_outs was changed after it was applied to this database"
    );
}

const WAITS: LockWaits = LockWaits {
    lock_timeout: Duration::from_millis(100),
    pause: Duration::from_millis(300),
    retry_for: Duration::from_secs(120),
};

async fn client(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Creates a table with enough rows that an index takes some time.
async fn with_table() -> Database {
    let database = Database::create().await;
    let table = "create table busy (id bigserial primary key, n int not null);
        insert into busy (n) select g % 1000 from generate_series(1, 100000) g";
    database.client.batch_execute(table).await.unwrap();
    database
}

/// Tasks that insert rows until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    /// Each returns the longest duration of an insert.
    tasks: Vec<tokio::task::JoinHandle<Duration>>,
}

impl Load {
    async fn start(database: &Database) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (stop, written, client) = (stop.clone(), written.clone(), client(database).await);
            tasks.push(tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    client.batch_execute("insert into busy (n) values (7)").await.unwrap();
                    longest = longest.max(begun.elapsed());
                    written.fetch_add(1, Ordering::Relaxed);
                }
                longest
            }));
        }
        let load = Self { stop, written, tasks };
        load.wait_for_inserts().await;
        load
    }

    /// Waits for more inserts.
    async fn wait_for_inserts(&self) {
        let before = self.written.load(Ordering::Relaxed);
        eventually("more rows are inserted", async || {
            (self.written.load(Ordering::Relaxed) > before + 8).then_some(())
        })
        .await;
    }

    async fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for task in self.tasks {
            longest = longest.max(task.await.unwrap());
        }
        longest
    }
}

async fn is_valid(database: &Database, index: &str) -> String {
    let sql = format!(
        "select coalesce((select indisvalid::text from pg_index where indexrelid = to_regclass('{index}')), 'none')"
    );
    database.scalar(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_and_a_constraint_are_added_during_inserts() {
    let database = with_table().await;
    let load = Load::start(&database).await;
    let migration = [(
        "9001_index",
        "-- transaction: none
         create index concurrently if not exists busy_n on busy (n);
         alter table busy drop constraint if exists n_known, add constraint n_known check (n >= 0) not valid;
         alter table busy validate constraint n_known;
",
    )];
    assert_eq!(apply(&database.db(), &migration, WAITS).await.unwrap(), ["9001_index"]);
    load.wait_for_inserts().await;
    load.stop().await;
    assert_eq!(is_valid(&database, "busy_n").await, "true");
    let validated = "select convalidated::text from pg_constraint where conname = 'n_known'";
    assert_eq!(database.scalar(validated).await, "true");
    assert!(apply(&database.db(), &migration, WAITS).await.unwrap().is_empty());
    // The run has released its advisory lock.
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and database = \
                 (select oid from pg_database where datname = current_database())";
    assert_eq!(database.scalar(locks).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_build_waits_for_an_old_transaction_without_blocking_inserts() {
    let database = with_table().await;
    let reader = client(&database).await;
    reader.batch_execute("begin isolation level repeatable read; select count(*) from busy").await.unwrap();
    let load = Load::start(&database).await;
    let db = database.db();
    let run = tokio::spawn(async move {
        let sql = "-- transaction: none\ncreate index concurrently if not exists busy_n on busy (n);\n";
        apply(&db, &[("9001_index", sql)], WAITS).await
    });
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() \
                   and query like '%create index concurrently%' and wait_event_type = 'Lock'";
    eventually("the index build waits for a lock", async || {
        (database.scalar(waiting).await == "1").then_some(())
    })
    .await;
    load.wait_for_inserts().await;
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(run.await.unwrap().unwrap(), ["9001_index"]);
    load.stop().await;
    assert_eq!(is_valid(&database, "busy_n").await, "true");
}

#[tokio::test]
async fn an_invalid_index_of_a_failed_run_is_rebuilt() {
    let database = with_table().await;
    let migration = [(
        "9001_unique",
        "-- transaction: none\ncreate unique index concurrently if not exists busy_n on busy (n);\n",
    )];
    let error = apply(&database.db(), &migration, WAITS).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("migration 9001_unique failed after some of its statements: fix its file")
    );
    assert_eq!(is_valid(&database, "busy_n").await, "false");
    assert_eq!(database.scalar("select count(*) from schema_migrations where name like '9001%'").await, "0");
    database.client.batch_execute("delete from busy where id > 1000").await.unwrap();
    assert_eq!(apply(&database.db(), &migration, WAITS).await.unwrap(), ["9001_unique"]);
    assert_eq!(is_valid(&database, "busy_n").await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_retries_a_lock_timeout_without_blocking_inserts_for_long() {
    for sql in [
        "alter table busy add column m int",
        "-- transaction: none\nalter table busy add column if not exists m int;\n",
    ] {
        let database = with_table().await;
        let holder = client(&database).await;
        // The lock of a long SELECT. It blocks ALTER TABLE, but not INSERT.
        holder.batch_execute("begin; lock table busy in access share mode").await.unwrap();
        let load = Load::start(&database).await;
        let db = database.db();
        let run = tokio::spawn(async move { apply(&db, &[("9001_column", sql)], WAITS).await });
        let waits = "select count(*) from pg_locks where relation = 'busy'::regclass and not granted \
                     and mode = 'AccessExclusiveLock'";
        let wait_for_locks = async |number: &str| {
            eventually("the number of waiting locks changes", async || {
                (database.scalar(waits).await == number).then_some(())
            })
            .await;
        };
        for _ in 0..2 {
            wait_for_locks("1").await;
            wait_for_locks("0").await;
            load.wait_for_inserts().await;
        }
        assert!(!run.is_finished(), "the migration is still retried");
        holder.batch_execute("commit").await.unwrap();
        assert_eq!(run.await.unwrap().unwrap(), ["9001_column"]);
        // Generous for slow machines. Without the lock timeout, the inserts would wait until the lock is released.
        assert!(load.stop().await < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_lock_that_is_never_released_fails_the_run_with_a_lock_timeout() {
    let database = with_table().await;
    let holder = client(&database).await;
    holder.batch_execute("begin; lock table busy in access share mode").await.unwrap();
    let waits = LockWaits { retry_for: Duration::from_millis(500), ..WAITS };
    let error = apply(&database.db(), &[("9001_column", "alter table busy add column m int")], waits).await;
    let text = common::error::chain(&error.unwrap_err());
    assert!(text.contains("lock timeout"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_apply_a_migration_without_transaction_once() {
    let database = with_table().await;
    let sql = "-- transaction: none\ncreate index concurrently if not exists busy_n on busy (n);\n";
    let runs = (0..4).map(|_| {
        let db = database.db();
        tokio::spawn(async move { apply(&db, &[("9001_index", sql)], WAITS).await.unwrap() })
    });
    let mut applied = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        applied.extend(run.await.unwrap());
    }
    assert_eq!(applied, ["9001_index"]);
}

const DOUBLE: &str = "create or replace function sms_double(n int) returns int language plpgsql as
    $$ begin return sms_twice(n); end $$";
const TWICE: &str = "create or replace function sms_twice(n int) returns int language plpgsql as
    $$ begin return 2 * n; end $$";
const THRICE: &str = "create or replace function sms_twice(n int) returns int language plpgsql as
    $$ begin return 3 * n; end $$";

#[tokio::test]
async fn only_functions_whose_text_changed_are_replaced() {
    let database = Database::create().await;
    let db = database.db();
    // The first calls the second, which is created after it.
    let before = [("functions/sms_double", DOUBLE), ("functions/sms_twice", TWICE)];
    assert_eq!(
        apply_functions(&db, &before, WAITS).await.unwrap(),
        ["functions/sms_double", "functions/sms_twice"]
    );
    assert!(apply_functions(&db, &before, WAITS).await.unwrap().is_empty());
    assert_eq!(database.scalar("select sms_double(7)").await, "14");
    let after = [("functions/sms_double", DOUBLE), ("functions/sms_twice", THRICE)];
    assert_eq!(apply_functions(&db, &after, WAITS).await.unwrap(), ["functions/sms_twice"]);
    assert_eq!(database.scalar("select sms_double(7)").await, "21");
}

#[tokio::test]
async fn a_failed_function_leaves_all_functions_as_before() {
    let database = Database::create().await;
    let db = database.db();
    apply_functions(&db, &[("functions/sms_twice", TWICE)], WAITS).await.unwrap();
    let broken =
        "create or replace function sms_new() returns int language plpgsql as $$ begin retrun 1; end $$";
    let after = [("functions/sms_new", broken), ("functions/sms_twice", THRICE)];
    let error = apply_functions(&db, &after, WAITS).await.unwrap_err();
    let failed =
        "migration functions/sms_new, functions/sms_twice failed and has no effect: fix its file or the data";
    assert!(error.to_string().starts_with(failed), "{error}");
    assert!(common::error::chain(&error).contains("syntax error"), "{}", common::error::chain(&error));
    assert_eq!(database.scalar("select sms_twice(7)").await, "14");
    let recorded = "select count(*) from schema_migrations where name = 'functions/sms_new'";
    assert_eq!(database.scalar(recorded).await, "0");
}

#[tokio::test]
async fn a_function_with_a_changed_signature_needs_a_new_name() {
    let database = Database::create().await;
    let db = database.db();
    apply_functions(&db, &[("functions/sms_twice", TWICE)], WAITS).await.unwrap();
    let changed = "create or replace function sms_twice(n bigint) returns int language sql as 'select 2'";
    let error = apply_functions(&db, &[("functions/sms_twice", changed)], WAITS).await.unwrap_err();
    let text = common::error::chain(&error);
    assert!(
        text.contains(
            "function sms_twice has another signature in the database: give the new one a new name"
        ),
        "{text}"
    );
    assert_eq!(database.scalar("select sms_twice(7)").await, "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_replaced_while_others_call_them() {
    let database = Database::create().await;
    apply_functions(&database.db(), &[("functions/sms_twice", TWICE)], WAITS).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for _ in 0..3 {
        let (stop, client) = (stop.clone(), client(&database).await);
        callers.push(tokio::spawn(async move {
            let mut results = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                results.push(client.query_one("select sms_twice(7)", &[]).await.unwrap().get::<_, i32>(0));
            }
            results
        }));
    }
    for sql in [THRICE, TWICE, THRICE] {
        let applied = apply_functions(&database.db(), &[("functions/sms_twice", sql)], WAITS).await.unwrap();
        assert_eq!(applied, ["functions/sms_twice"]);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let results = caller.await.unwrap();
        assert!(results.iter().all(|result| matches!(result, 14 | 21)), "{results:?}");
    }
}

#[tokio::test]
async fn the_database_has_exactly_the_functions_of_the_folder() {
    let database = Database::create().await;
    let sql = "select coalesce(string_agg(proname, ' ' order by proname), '') from pg_proc
               where pronamespace = 'public'::regnamespace";
    let files = migrations::functions();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.trim_start_matches("functions/")).collect();
    assert_eq!(database.scalar(sql).await, names.join(" "));
    for (name, text) in files {
        let body = database
            .client
            .query_one(
                "select prosrc from pg_proc where proname = $1",
                &[&name.trim_start_matches("functions/")],
            )
            .await
            .unwrap();
        assert!(text.contains(body.get::<_, &str>(0)), "{name} differs from the database");
    }
}

#[test]
fn each_function_file_has_one_function_of_at_most_60_lines() {
    for (name, text) in migrations::functions() {
        let short = name.trim_start_matches("functions/");
        assert_eq!(text.matches("create or replace function").count(), 1, "{name}");
        let start = text.find(&format!("create or replace function {short}(")).expect(name);
        let end = text.find("$$;").expect(name);
        let lines = text[start..end + "$$;".len()].lines().count();
        assert!(lines <= 60, "{name} has {lines} lines");
    }
}
