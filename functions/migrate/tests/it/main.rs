//! The built binary, through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a test that can't be set up should say so and stop")]

use serde_json::{Value, json};
use testing::{Database, Function, Outcome};

const BINARY: &str = env!("CARGO_BIN_EXE_migrate");

async fn start(database: &Database) -> Function {
    Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await
}

/// A database in which nothing of ours is left.
async fn empty() -> Database {
    let database = Database::create().await;
    database.client.batch_execute("drop schema public cascade; create schema public").await.unwrap();
    database
}

fn applied(answer: &Value) -> Vec<&str> {
    answer["applied"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_empty_database_gets_every_migration_once() {
    let database = empty().await;
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
async fn runs_side_by_side_apply_everything_once() {
    let database = empty().await;
    let mut functions = Vec::new();
    for _ in 0..4 {
        functions.push(start(&database).await);
    }
    let mut runs = tokio::task::JoinSet::new();
    for mut function in functions {
        runs.spawn(async move { function.call(json!({})).await });
    }
    let answers = runs.join_all().await;
    let mut names: Vec<&str> = answers.iter().flat_map(|answer| applied(answer)).collect();
    names.sort_unstable();
    let total = names.len();
    names.dedup();
    assert_eq!(names.len(), total, "{answers:?}");
    assert_eq!(database.scalar("select count(*) from schema_migrations").await, total.to_string());
}

#[tokio::test]
async fn a_migration_that_fails_is_a_function_error_that_names_it() {
    let database = empty().await;
    database.client.batch_execute("create table webhook_spool (in_the_way int)").await.unwrap();
    let mut function = start(&database).await;
    let Outcome::Error(error) = function.invoke(json!({})).await else { panic!("a function error") };
    assert_eq!(error["errorType"], "MigrationFailed");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("applying migration 0003_webhook_spool: "), "{message}");
    assert_eq!(database.scalar("select max(name) from schema_migrations").await, "0002_opt_outs");
    database.client.batch_execute("drop table webhook_spool").await.unwrap();
    assert_eq!(applied(&function.call(json!({})).await).first(), Some(&"0003_webhook_spool"));
}

#[tokio::test]
async fn a_database_that_is_away_is_a_function_error_and_later_runs_go_on() {
    let mut function =
        Function::start(BINARY, &[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")]).await;
    for _ in 0..2 {
        let Outcome::Error(error) = function.invoke(json!({})).await else { panic!("a function error") };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_environment_stops_the_function_at_start() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    let last = log.last().unwrap();
    assert_eq!(last["error"], "the environment is not usable: DATABASE_URL is missing", "{last}");
}
