//! Runs the binary through the Runtime API with a real Postgres.

use serde_json::json;
use std::time::Duration;
use testing::{Database, Function, Outcome, environment};

const BINARY: &str = env!("CARGO_BIN_EXE_create-partitions");

async fn logged(function: &Function, line: &str) -> bool {
    function.log().await.iter().any(|logged| logged.to_string().contains(line))
}

#[tokio::test]
async fn a_run_creates_the_missing_partitions_and_measures_the_result() {
    let database = Database::create().await;
    let mut function =
        Function::start(BINARY, &[("DATABASE_URL", &database.url()), ("PARTITION_MONTHS_AHEAD", "5")]).await;
    let first = function.call(json!({})).await;
    // `migrate` created three months of three tables.
    assert_eq!(first["created"].as_array().map(Vec::len), Some(8), "{first}");
    assert_eq!((&first["months_ready"], &first["rows_in_default"]), (&json!(5), &json!(0)));
    assert_eq!(function.call(json!({})).await["created"], json!([]));

    let wrong_clock = "insert into sms_events (id, event_type, position, body, created_at)
        values (sms_first_id('2091-01-01T00:00:00Z'), 'message.status', 1, '{}', now())";
    database.client.batch_execute(wrong_clock).await.unwrap();
    assert_eq!(function.call(json!({})).await["rows_in_default"], json!(1));
    assert!(logged(&function, r#""partitions_ready":5.0"#).await);
    assert!(logged(&function, r#""rows_in_default_partitions":1.0"#).await);
}

#[tokio::test]
async fn a_failed_run_reports_how_many_months_are_ready() {
    let database = Database::create().await;
    let month = "select to_char(now() at time zone 'UTC' + interval '2 months', 'YYYY_MM')";
    let month = database.scalar(month).await;
    // A table that is not attached blocks the name.
    let block = format!("drop table sms_events_{month}; create table sms_events_{month} (id int)");
    database.client.batch_execute(&block).await.unwrap();
    let mut function = Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await;
    assert!(matches!(function.invoke(json!({})).await, Outcome::Error(_)));
    assert!(logged(&function, r#""partitions_ready":1.0"#).await);
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<create_partitions::Config>(
        "create-partitions",
        Duration::from_secs(30),
        &[environment::CONNECT, environment::STATEMENT],
    );
}
