//! Tests of the built binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment};

const BINARY: &str = env!("CARGO_BIN_EXE_migrate");

async fn start(database: &Database) -> Function {
    Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await
}

/// Returns a database without migrations.
async fn empty_database() -> Database {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    database
}

fn applied(response: &Value) -> Vec<&str> {
    response["applied"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test]
async fn all_migrations_are_applied_once() {
    let database = empty_database().await;
    let mut function = start(&database).await;
    let first = function.call(json!({"any": "payload"})).await;
    assert_eq!(applied(&first).first(), Some(&"0001_conversations_and_messages"));
    assert_eq!(
        database.scalar("select count(*) from schema_migrations").await,
        applied(&first).len().to_string()
    );
    for payload in [json!(null), json!([]), json!("again")] {
        assert_eq!(function.call(payload).await, json!({"applied": []}));
    }
}

#[tokio::test]
async fn concurrent_runs_apply_each_migration_once() {
    let database = empty_database().await;
    let mut functions = Vec::new();
    for _ in 0..4 {
        functions.push(start(&database).await);
    }
    let mut runs = tokio::task::JoinSet::new();
    for mut function in functions {
        runs.spawn(async move { function.call(json!({})).await });
    }
    let responses = runs.join_all().await;
    let mut names: Vec<&str> = responses.iter().flat_map(|response| applied(response)).collect();
    names.sort_unstable();
    let total = names.len();
    names.dedup();
    assert_eq!(names.len(), total, "{responses:?}");
    assert_eq!(database.scalar("select count(*) from schema_migrations").await, total.to_string());
}

#[tokio::test]
async fn a_failed_migration_is_a_function_error_with_its_name() {
    let database = empty_database().await;
    database.client.batch_execute("create table sms_senders (conflict int)").await.unwrap();
    let mut function = start(&database).await;
    let Outcome::Error(error) = function.invoke(json!({})).await else { panic!("expected a function error") };
    assert_eq!(error["errorType"], "MigrationFailed");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(
        message.starts_with("migration 0003_senders failed and has no effect: fix its file"),
        "{message}"
    );
    assert_eq!(database.scalar("select max(name) from schema_migrations").await, "0002_opt_outs");
    database.client.batch_execute("drop table sms_senders").await.unwrap();
    assert_eq!(applied(&function.call(json!({})).await).first(), Some(&"0003_senders"));
}

#[tokio::test]
async fn an_unavailable_database_is_a_function_error_and_does_not_stop_the_function() {
    let mut function =
        Function::start(BINARY, &[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")]).await;
    for _ in 0..2 {
        let Outcome::Error(error) = function.invoke(json!({})).await else {
            panic!("expected a function error")
        };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_variable_stops_the_function_at_startup() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    let last = log.last().unwrap();
    assert_eq!(last["error"], "invalid configuration: DATABASE_URL is missing", "{last}");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<migrate::Config>("migrate", Duration::ZERO, &[environment::CONNECT]);
}
