//! Runs the binary through the Runtime API with a real Postgres and an S3 server.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;
use testing::{Database, Function, Outcome, S3, environment, eventually};

mod archive;
mod messages;
mod traffic;

const BINARY: &str = env!("CARGO_BIN_EXE_remove-old-data");

struct World {
    database: Database,
    s3: S3,
}

impl World {
    async fn start() -> Self {
        Self { database: Database::create().await, s3: S3::start().await }
    }

    /// Starts the function, with an archive unless `changes` has another `ARCHIVE_BUCKET`.
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

    /// Creates a month of `sms_events` with events one minute apart, each with some hundred bytes.
    async fn events(&self, month: &str, rows: u32) {
        self.run(&format!(
            "select sms_add_partition('sms_events', '{month}-01');
             insert into sms_events (id, event_type, position, body, created_at)
             select sms_first_id(at), 'message.status', n,
                 json_build_object('n', n, 'x', repeat(md5(n::text), 10))::text, at
             from (select n, timestamptz '{month}-01 00:00Z' + n * interval '1 minute' as at
                   from generate_series(0, {rows} - 1) n) n"
        ))
        .await;
    }

    async fn exists(&self, relation: &str) -> bool {
        self.database.scalar(&format!("select to_regclass('{relation}') is not null")).await == "t"
    }

    async fn size(&self) -> i64 {
        self.database.scalar("select pg_database_size(current_database())").await.parse().unwrap()
    }

    fn manifest(&self, table: &str, month: &str) -> Value {
        let file = self.s3.file(&format!("archive/{table}/{month}/manifest.json"));
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    /// Returns the archived rows of a month.
    fn archived(&self, table: &str, month: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for part in self.manifest(table, month)["parts"].as_array().unwrap() {
            let name = part["name"].as_str().unwrap();
            let file = std::fs::File::open(self.s3.file(&format!("archive/{table}/{month}/{name}"))).unwrap();
            let mut text = String::new();
            GzDecoder::new(file).read_to_string(&mut text).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        rows
    }
}

fn event() -> Value {
    serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()
}

async fn fails(function: &mut Function) {
    let outcome = function.invoke(event()).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
}

/// Returns the error that the function logged for a kind of data.
async fn logged(function: &Function) -> String {
    let log = function.log().await;
    let line = log.iter().find(|line| line["message"] == "could not remove old data");
    line.unwrap()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn by_default_only_events_and_attempts_to_deliver_them_are_removed() {
    let world = World::start().await;
    world.events("2024-01", 10).await;
    world
        .run(
            "select sms_add_partition('sms_delivery_attempts', '2024-02-01');
             insert into sms_delivery_attempts (id, subscription_id, event_id, attempt, attempted_at, duration_ms)
             select sms_first_id(at), gen_random_uuid(), gen_random_uuid(), 1, '2024-02-02Z', 7
             from unnest(array['2024-02-02Z', '1975-01-01Z']::timestamptz[]) at;
             select sms_add_partition('sms_message_payloads', '2024-01-01');
             insert into sms_message_payloads (message_id, raw_webhook_data, created_at)
             values (sms_first_id('2024-01-02Z'), '{}', '2024-01-02Z')",
        )
        .await;
    let removed = world.function(&[]).await.call(event()).await;
    assert_eq!(removed["months"], json!(["sms_events_2024_01", "sms_delivery_attempts_2024_02"]));
    assert!(world.exists("sms_message_payloads_2024_01").await);
    assert_eq!(world.archived("sms_delivery_attempts", "2024-02")[0]["duration_ms"], 7);
    let left = "select count(*) from sms_delivery_attempts";
    assert_eq!(world.database.scalar(left).await, "0", "also the row with the id of a wrong clock");
}

#[tokio::test]
async fn a_month_is_dropped_when_its_last_day_is_too_old() {
    let world = World::start().await;
    let months = "select to_char(now() at time zone 'UTC' - interval";
    let old = world.database.scalar(&format!("{months} '3 months', 'YYYY-MM')")).await;
    let young = world.database.scalar(&format!("{months} '2 months', 'YYYY-MM')")).await;
    world.events(&old, 10).await;
    world.events(&young, 10).await;
    // So many days that the end of the older month is just in the past, and the end of the younger one is not.
    let days = world
        .database
        .scalar("select extract(day from now() - date_trunc('month', now() - interval '2 months'))::int")
        .await;
    let mut function = world.function(&[("RETENTION_EVENTS_DAYS", &days)]).await;
    let removed = function.call(event()).await;
    assert_eq!(removed["months"], json!([format!("sms_events_{}", old.replace('-', "_"))]));
    assert!(world.exists(&format!("sms_events_{}", young.replace('-', "_"))).await);
}

#[tokio::test]
async fn old_rows_of_the_default_partition_are_deleted_and_others_are_not() {
    let world = World::start().await;
    world
        .run(
            "insert into sms_events (id, event_type, position, body, created_at)
             select case when n % 2 = 0 then sms_first_id('1975-01-01Z'::timestamptz + n * interval '1 s')
                         else sms_first_id('2200-01-01Z'::timestamptz + n * interval '1 s') end,
                 'message.status', n, '{}', now() - interval '91 days'
             from generate_series(1, 1201) n;
             -- The clock was wrong, but the event is young.
             insert into sms_events (id, event_type, position, body, created_at)
             values (sms_first_id('1975-02-01Z'), 'message.status', 1202, '{}', now())",
        )
        .await;
    let removed = world.function(&[]).await.call(event()).await;
    assert_eq!((&removed["rows"], &removed["unfinished"]), (&json!(1201), &json!(false)));
    assert!(removed["bytes"].as_i64().unwrap() > 1201 * 20, "{removed}");
    assert_eq!(world.database.scalar("select count(*) from sms_events").await, "1");
}

#[tokio::test]
async fn a_retention_shorter_than_reconciliation_needs_stops_the_function_at_startup() {
    let variables = [
        ("DATABASE_URL", "postgres://u@127.0.0.1/x"),
        ("RETENTION_BODIES_DAYS", "1"),
        ("RETENTION_EVENTS_DAYS", "2.5"),
    ];
    let log = Function::start(BINARY, &variables).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: RETENTION_BODIES_DAYS must be at least 2, because of RECONCILE_WINDOW_SECONDS; \
         RETENTION_EVENTS_DAYS is invalid (must be a number of days from 1 to 36500, or forever)"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<remove_old_data::Config>(
        "remove-old-data",
        // RETENTION_BUDGET_SECONDS.
        Duration::from_secs(240),
        &[environment::CONNECT, environment::STATEMENT, ("STORAGE_TIMEOUT_MS", 4)],
    );
}
