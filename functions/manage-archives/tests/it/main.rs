//! Runs the binary through the Runtime API with a real Postgres and an S3 server.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::db::archives;
use common::domain::month::Month;
use common::service::archive::{Archiver, Progress};
use common::{clock, db::partitions};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testing::{Database, Function, Outcome, S3, environment};

const BINARY: &str = env!("CARGO_BIN_EXE_manage-archives");

/// JSON that is easily changed on the way: escapes, Unicode, numbers beyond 64 bits, and nested values.
const AWKWARD: &str = r#"{"Body": "a \"quoted\" \\ line\nand \u0001 \u2028 é 🏠", "n": 1.10,
    "large": 123456789012345678901234567890, "small": 1e-30, "none": null, "list": [true, {"x": []}], "": ""}"#;

struct World {
    database: Database,
    s3: S3,
}

impl World {
    async fn start() -> Self {
        Self { database: Database::create().await, s3: S3::start().await }
    }

    async fn function(&self, changes: &[(&str, &str)]) -> Function {
        let url = self.database.url();
        let mut variables = vec![
            ("DATABASE_URL", url.as_str()),
            ("ARCHIVE_BUCKET", self.s3.bucket()),
            ("AWS_ENDPOINT_URL_S3", self.s3.url()),
        ];
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    async fn run(&self, sql: &str) {
        self.database.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Creates a month of each table with some rows, and archives and drops it in the same way as `remove-old-data`.
    async fn archived(&self, month: &str) -> Vec<String> {
        for table in partitions::TABLES {
            self.run(&format!("select sms_add_partition('{table}', '{month}-01')")).await;
        }
        let at = format!("timestamptz '{month}-01 00:00:00.123456Z' + n * interval '1 minute'");
        let awkward = AWKWARD.replace('\'', "''");
        self.run(&format!(
            "insert into sms_message_payloads (message_id, raw_webhook_data, created_at)
             select sms_first_id({at}), jsonb '{awkward}' || jsonb_build_object('i', n), {at}
             from generate_series(1, 3000) n;
             insert into sms_message_status_events
                 (id, message_id, twilio_sid, event_status, error_code, raw_webhook_data, created_at)
             select sms_first_id({at}), case when n % 2 = 0 then gen_random_uuid() end, 'SM' || md5(n::text), 'sent',
                 case when n % 3 = 0 then '30003' end, jsonb '{awkward}', {at} from generate_series(1, 3000) n;
             insert into sms_events (id, event_type, position, conversation_id, body, created_at)
             select sms_first_id({at}), 'message.status', n, gen_random_uuid(), '{awkward}', {at}
             from generate_series(1, 3000) n;
             insert into sms_delivery_attempts
                 (id, subscription_id, event_id, attempt, attempted_at, duration_ms, response_body)
             select sms_first_id({at}), gen_random_uuid(), gen_random_uuid(), n, {at}, n, '{awkward}'
             from generate_series(1, 3000) n"
        ))
        .await;
        let mut before = Vec::new();
        let (db, storage) = (self.database.db(), self.s3.storage());
        for table in partitions::TABLES {
            before.push(self.rows(table).await);
            let (archiver, name) =
                (Archiver { db: &db, storage: &storage, part_bytes: 1_024 }, month.replace('-', "_"));
            let (name, month) = (format!("{table}_{name}"), month.parse::<Month>().unwrap());
            let until = Instant::now() + Duration::from_secs(60);
            let Progress::Written(archive) = archiver.archive(table, &name, month, until).await.unwrap()
            else {
                panic!("the archive is not complete");
            };
            archives::complete(&db, table, month, &archive, clock::now()).await.unwrap();
            self.run(&format!("drop table {name}")).await;
        }
        before
    }

    /// Returns all rows of a table as text, byte by byte as Postgres prints them.
    async fn rows(&self, table: &str) -> String {
        self.database
            .scalar(&format!("select string_agg(t::text, E'\\n' order by t::text) from {table} t"))
            .await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.s3.file(&format!("archive/sms_events/2024-01/{name}"))
    }
}

fn restore(table: &str) -> Value {
    json!({"action": "restore", "table": table, "month": "2024-01"})
}

async fn rejected(function: &mut Function, payload: Value) -> String {
    match function.invoke(payload).await {
        Outcome::Error(error) => error["errorMessage"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_restored_month_has_the_same_rows_and_a_repetition_changes_nothing() {
    let world = World::start().await;
    let before = world.archived("2024-01").await;
    let mut function = world.function(&[]).await;
    for (table, before) in partitions::TABLES.into_iter().zip(before) {
        assert_eq!(world.rows(table).await, "null");
        let restored = function.call(restore(table)).await;
        assert_eq!(
            restored,
            json!({"table": table, "month": "2024-01", "rows": 3000, "inserted": 3000, "next_part": null})
        );
        assert_eq!(world.rows(table).await, before);
        let in_month = format!("select count(*) from {table}_2024_01");
        assert_eq!(world.database.scalar(&in_month).await, "3000");
        assert_eq!(function.call(restore(table)).await["inserted"], 0);
        assert_eq!(world.rows(table).await, before);
    }
    let kept = "select bool_and(keep_until between now() + interval '29 days' and now() + interval '30 days')
                from sms_archives";
    assert_eq!(world.database.scalar(kept).await, "t");
    let verified = "select count(verified_at) || ' of ' || (count(*) > 3) from sms_archive_parts";
    assert_eq!(world.database.scalar(verified).await, "0 of true", "the next drop verifies all parts again");
}

#[tokio::test]
async fn an_archive_is_restored_into_a_database_that_does_not_know_it() {
    let world = World::start().await;
    let before = world.archived("2024-01").await;
    let parts = "select string_agg(p::text, ',' order by number) from
        (select number, name, first_id, last_id, row_count, byte_count, sha256 from sms_archive_parts
         where archived_table = 'sms_events') p";
    let recorded = world.database.scalar(parts).await;
    world.run("delete from sms_archives; delete from sms_archive_parts").await;
    let mut function = world.function(&[]).await;
    function.call(restore("sms_events")).await;
    assert_eq!(world.rows("sms_events").await, before[2]);
    assert_eq!(world.database.scalar(parts).await, recorded);
}

#[tokio::test]
async fn erased_rows_that_the_archive_still_contains_are_not_restored() {
    let world = World::start().await;
    world.archived("2024-01").await;
    world
        .run(
            "insert into sms_erased_archive_rows (table_name, row_id, erased_at)
             select 'sms_message_payloads',
                 sms_first_id(timestamptz '2024-01-01 00:00:00.123456Z' + n * interval '1 minute'), now()
             from unnest(array[3, 7]) n",
        )
        .await;
    let restored = world.function(&[]).await.call(restore("sms_message_payloads")).await;
    assert_eq!(restored["inserted"], 2998);
    let numbers = "select string_agg(n::text, ',') from generate_series(1, 3000) n
                   where not exists (select from sms_message_payloads p where p.raw_webhook_data ->> 'i' = n::text)";
    assert_eq!(world.database.scalar(numbers).await, "3,7");
}

#[tokio::test]
async fn a_restore_without_time_is_continued_with_the_next_part() {
    let world = World::start().await;
    let before = world.archived("2024-01").await;
    let mut function = world.function(&[("RESTORE_BUDGET_SECONDS", "0")]).await;
    let (mut payload, mut inserted, mut calls) = (restore("sms_events"), 0, 0);
    loop {
        let restored = function.call(payload.clone()).await;
        inserted += restored["inserted"].as_i64().unwrap();
        calls += 1;
        if restored["next_part"].is_null() {
            break;
        }
        assert_eq!(restored["next_part"], calls + 1);
        payload["from_part"] = restored["next_part"].clone();
    }
    assert!(calls > 1);
    assert_eq!((inserted, world.rows("sms_events").await), (3000, before[2].clone()));
}

#[tokio::test]
async fn archives_are_listed_by_table_and_month() {
    let world = World::start().await;
    let mut function = world.function(&[]).await;
    assert_eq!(function.call(json!({"action": "list"})).await, json!({"archives": []}));
    world.archived("2024-02").await;
    world.archived("2024-01").await;
    // An archive in progress has no manifest.
    std::fs::remove_file(world.path("manifest.json")).unwrap();
    let listed = function.call(json!({"action": "list"})).await;
    let archives = listed["archives"].as_array().unwrap();
    let names: Vec<_> =
        archives.iter().map(|archive| format!("{} {}", archive["table"], archive["month"])).collect();
    assert_eq!(
        names,
        [
            r#""sms_delivery_attempts" "2024-01""#,
            r#""sms_delivery_attempts" "2024-02""#,
            r#""sms_events" "2024-02""#,
            r#""sms_message_payloads" "2024-01""#,
            r#""sms_message_payloads" "2024-02""#,
            r#""sms_message_status_events" "2024-01""#,
            r#""sms_message_status_events" "2024-02""#,
        ]
    );
    assert_eq!(archives[0]["rows"], 3000);
    assert!(archives[0]["bytes"].as_u64().unwrap() > 1_000 && archives[0]["parts"].as_u64().unwrap() > 1);
}

#[tokio::test]
async fn an_archive_that_does_not_match_its_manifest_is_not_restored() {
    let world = World::start().await;
    world.archived("2024-01").await;
    let mut function = world.function(&[]).await;
    let refused = async |function: &mut Function, problem: &str| {
        let expected = format!("the archive of sms_events 2024-01 {problem}");
        assert_eq!(rejected(function, restore("sms_events")).await, expected);
        assert_eq!(world.rows("sms_events").await, "null");
    };
    let part = world.path("part-00001.ndjson.gz");
    let body = std::fs::read(&part).unwrap();
    let mut damaged = body.clone();
    damaged[100] ^= 1;
    std::fs::write(&part, &damaged).unwrap();
    refused(&mut function, "has another SHA-256 in part-00001.ndjson.gz").await;
    std::fs::remove_file(&part).unwrap();
    refused(&mut function, "has no object part-00001.ndjson.gz").await;
    std::fs::write(&part, &body).unwrap();

    let file = world.path("manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"rows\": 3000", "\"rows\": 2999")).unwrap();
    refused(&mut function, "has another manifest than was stored").await;
    // In a database that does not know the archive, the manifest must at least be consistent.
    world.run("delete from sms_archives; delete from sms_archive_parts").await;
    refused(&mut function, "has parts that do not add up").await;
    std::fs::write(&file, text.replace("\"uuid\"", "\"text\"")).unwrap();
    refused(&mut function, "has columns that do not match their fingerprint").await;
    std::fs::write(&file, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    refused(&mut function, "has format 2, not 1").await;
    std::fs::write(&file, text.replace("2024-01", "2024-02")).unwrap();
    refused(&mut function, "has a manifest of sms_events 2024-02").await;
    std::fs::write(&file, "{}").unwrap();
    let error = rejected(&mut function, restore("sms_events")).await;
    assert!(error.contains("has a manifest that cannot be read (missing field `format`"), "{error}");
    std::fs::write(&file, &text).unwrap();
    world.run("alter table sms_events rename column body to details").await;
    refused(&mut function, "has a column body of type text, which the table does not have").await;
    world.run("alter table sms_events rename column details to body").await;
    assert_eq!(function.call(restore("sms_events")).await["inserted"], 3000);
}

#[tokio::test]
async fn a_table_with_a_new_column_can_be_restored() {
    let world = World::start().await;
    world.archived("2024-01").await;
    world.run("alter table sms_events add column priority text not null default 'normal'").await;
    world.function(&[]).await.call(restore("sms_events")).await;
    assert_eq!(
        world.database.scalar("select count(*) from sms_events where priority = 'normal'").await,
        "3000"
    );
}

#[tokio::test]
async fn an_invalid_command_is_rejected_with_all_fields_and_reasons() {
    let world = World::start().await;
    let mut function = world.function(&[]).await;
    let tables = partitions::TABLES.join(", ");
    let cases = [
        (json!({"action": "drop"}), "invalid payload: action must be list or restore".to_owned()),
        (json!({"action": "restore"}), "invalid payload: table is missing; month is missing".to_owned()),
        (
            json!({"action": "restore", "table": "api_keys", "month": "2024-13", "from_part": 0, "keep_days": "1",
                "x": 1}),
            format!(
                "invalid payload: table must be one of {tables}; month is not a month such as 2026-10; \
                 from_part must be an integer between 1 and 1000000; keep_days must be an integer between 1 and 3650; \
                 x is not a field of this request"
            ),
        ),
        (restore("sms_events"), "there is no archive of sms_events 2024-01".to_owned()),
    ];
    for (payload, expected) in cases {
        assert_eq!(rejected(&mut function, payload.clone()).await, expected, "{payload}");
    }
    let mut without = world.function(&[("ARCHIVE_BUCKET", "")]).await;
    let error = rejected(&mut without, json!({"action": "list"})).await;
    assert_eq!(error, "ARCHIVE_BUCKET is not set, so there are no archives");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<manage_archives::Config>(
        "manage-archives",
        // RESTORE_BUDGET_SECONDS.
        Duration::from_secs(600),
        &[environment::CONNECT, environment::STATEMENT, ("STORAGE_TIMEOUT_MS", 4)],
    );
}
