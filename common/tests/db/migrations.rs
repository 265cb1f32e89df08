use common::db::migrations::{LockWaits, apply};
use common::db::{DatabaseConfig, Db, migrations};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testing::{Database, eventually};
use tokio_postgres::{Client, NoTls};

#[tokio::test]
async fn migrating_again_applies_nothing() {
    let database = Database::create().await;
    assert!(migrations::migrate(&database.db()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_side_by_side_applies_each_once() {
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
    assert_eq!(applied.len(), total, "none was applied twice");
    assert_eq!(database.scalar("select count(*) from schema_migrations").await, total.to_string());
}

#[tokio::test]
async fn a_migration_that_was_changed_after_the_fact_stops_the_run() {
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

/// Messages that were stored before conversations had a language, as a deployment finds them.
const BEFORE: &str = "
insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at, tenant_id,
                               language_detected, language_confidence, language_strength, language_own, language_at)
values ('00000000-0000-0000-0000-000000000001', 'AC1', '+12025550101', '+12025550101', now(), 'T-1', 'unknown', 0, 0, false, '-infinity'),
       ('00000000-0000-0000-0000-000000000002', 'AC1', '+12025550102', '+12025550102', now(), null, 'en', 0.6, 1, true, now()),
       ('00000000-0000-0000-0000-000000000003', 'AC1', '+12025550103', '+12025550103', now(), null, 'en', 0.95, 3, true, now()),
       ('00000000-0000-0000-0000-000000000004', 'AC1', '+12025550104', '+12025550104', now(), 'T-2', 'unknown', 0, 0, false, '-infinity'),
       ('00000000-0000-0000-0000-000000000005', 'AC1', '+12025550105', '+12025550105', now(), 'T-3', 'unknown', 0, 0, false, '-infinity');
insert into sms_events (id, event_type, conversation_id, data, created_at)
values (gen_random_uuid(), 'conversation.tenant_identified', '00000000-0000-0000-0000-000000000004',
        '{\"tenant_id\":\"T-2\",\"previous_tenant_id\":\"T-1\"}', now()),
       (gen_random_uuid(), 'conversation.tenant_identified', '00000000-0000-0000-0000-000000000005',
        '{\"tenant_id\":\"T-3\",\"previous_tenant_id\":null}', now());
insert into sms_messages (id, conversation_id, direction, twilio_sid, to_number, message_content, delivery_status,
                          language, language_confidence, created_at)
select gen_random_uuid(), ('00000000-0000-0000-0000-00000000000' || c)::uuid, direction, 'SM' || c || m, '+15550100', 'x',
       'received', language, confidence, now() - make_interval(days => age)
from (values (1, 1, 'inbound', 'es', 0.9::float4::float8, 9), (1, 2, 'inbound', 'en', 0.89, 8), (1, 3, 'inbound', 'pt', 0.9, 10),
             (1, 4, 'outbound', 'en', 0.99, 1), (1, 5, 'inbound', 'unknown', 0.98, 1),
             (2, 1, 'inbound', 'es', 0.7, 9), (3, 1, 'inbound', 'es', 0.99, 9), (4, 1, 'inbound', 'es', 0.99, 9),
             (5, 1, 'inbound', 'pt', 0.75, 9))
    as t (c, m, direction, language, confidence, age)";

#[tokio::test]
async fn what_was_written_before_languages_were_decided_decides_them_too() {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let is_backfill = |file: &std::path::PathBuf| file.to_str().unwrap().contains("0013_settled_tenants");
    let at = files.iter().position(is_backfill).unwrap();
    for file in &files[..at] {
        database.client.batch_execute(&std::fs::read_to_string(file).unwrap()).await.unwrap();
    }
    database.client.batch_execute(BEFORE).await.unwrap();
    let backfill = std::fs::read_to_string(&files[at]).unwrap();
    database.client.batch_execute(&format!("begin; {backfill}; commit")).await.unwrap();
    let held = database
        .scalar(
            "select string_agg(concat_ws(' ', right(phone_number_canonical, 1), language_detected,
                round(language_confidence::numeric, 2), language_strength, case when language_own then 'own' end,
                nullif(language_evidence, ''), case when tenant_unsettled_at is not null then 'unsettled' end),
                ', ' order by phone_number_canonical) from sms_conversations",
        )
        .await;
    assert_eq!(
        held,
        "1 es 0.90 3 own SM11 unsettled, 2 es 0.70 2 own SM21, 3 en 0.95 3 own, 4 unknown 0.00 0, 5 pt 0.75 2 own SM51 unsettled"
    );
    assert_eq!(
        database.scalar("select count(*) from sms_events where event_type like '%language%'").await,
        "0"
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

/// Makes a table with enough rows for an index to take a while.
async fn with_table() -> Database {
    let database = Database::create().await;
    let table = "create table busy (id bigserial primary key, n int not null);
        insert into busy (n) select g % 1000 from generate_series(1, 100000) g";
    database.client.batch_execute(table).await.unwrap();
    database
}

/// Writers that insert until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    /// The longest time that one insert took.
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
        load.goes_on().await;
        load
    }

    /// Waits until every writer has had time to write again.
    async fn goes_on(&self) {
        let before = self.written.load(Ordering::Relaxed);
        eventually("the writers go on", async || {
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
async fn an_index_and_a_constraint_are_added_to_a_table_under_load() {
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
    load.goes_on().await;
    load.stop().await;
    assert_eq!(is_valid(&database, "busy_n").await, "true");
    let validated = "select convalidated::text from pg_constraint where conname = 'n_known'";
    assert_eq!(database.scalar(validated).await, "true");
    assert!(apply(&database.db(), &migration, WAITS).await.unwrap().is_empty());
    // Nothing is left of the locks of the run.
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and database = \
                 (select oid from pg_database where datname = current_database())";
    assert_eq!(database.scalar(locks).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_waits_for_an_old_transaction_while_others_write() {
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
    eventually("the index waits", async || (database.scalar(waiting).await == "1").then_some(())).await;
    load.goes_on().await;
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(run.await.unwrap().unwrap(), ["9001_index"]);
    load.stop().await;
    assert_eq!(is_valid(&database, "busy_n").await, "true");
}

#[tokio::test]
async fn an_invalid_index_of_a_failed_run_is_dropped_and_built_again() {
    let database = with_table().await;
    let migration = [(
        "9001_unique",
        "-- transaction: none\ncreate unique index concurrently if not exists busy_n on busy (n);\n",
    )];
    let error = apply(&database.db(), &migration, WAITS).await.unwrap_err();
    assert_eq!(error.to_string(), "applying migration 9001_unique");
    assert_eq!(is_valid(&database, "busy_n").await, "false");
    assert_eq!(database.scalar("select count(*) from schema_migrations where name like '9001%'").await, "0");
    database.client.batch_execute("delete from busy where id > 1000").await.unwrap();
    assert_eq!(apply(&database.db(), &migration, WAITS).await.unwrap(), ["9001_unique"]);
    assert_eq!(is_valid(&database, "busy_n").await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_meets_a_long_lock_gives_up_lets_others_write_and_succeeds_later() {
    for sql in [
        "alter table busy add column m int",
        "-- transaction: none\nalter table busy add column if not exists m int;\n",
    ] {
        let database = with_table().await;
        let holder = client(&database).await;
        // As a long statement that reads the table does: writers go on beside it, and an ALTER TABLE does not.
        holder.batch_execute("begin; lock table busy in access share mode").await.unwrap();
        let load = Load::start(&database).await;
        let db = database.db();
        let run = tokio::spawn(async move { apply(&db, &[("9001_column", sql)], WAITS).await });
        let waits = "select count(*) from pg_locks where relation = 'busy'::regclass and not granted \
                     and mode = 'AccessExclusiveLock'";
        let at_it = async |number: &str| {
            eventually("the migration waits, or not", async || {
                (database.scalar(waits).await == number).then_some(())
            })
            .await;
        };
        for _ in 0..2 {
            at_it("1").await;
            at_it("0").await;
            load.goes_on().await;
        }
        assert!(!run.is_finished(), "it is still tried");
        holder.batch_execute("commit").await.unwrap();
        assert_eq!(run.await.unwrap().unwrap(), ["9001_column"]);
        // A machine may be slow; who waits behind a lock without a timeout waits until it is released.
        assert!(load.stop().await < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_lock_that_is_never_released_ends_the_run_with_its_reason() {
    let database = with_table().await;
    let holder = client(&database).await;
    holder.batch_execute("begin; lock table busy in access share mode").await.unwrap();
    let waits = LockWaits { retry_for: Duration::from_millis(500), ..WAITS };
    let error = apply(&database.db(), &[("9001_column", "alter table busy add column m int")], waits).await;
    let text = common::error::chain(&error.unwrap_err());
    assert!(text.contains("lock timeout"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_side_by_side_of_a_file_without_a_transaction_apply_it_once() {
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
