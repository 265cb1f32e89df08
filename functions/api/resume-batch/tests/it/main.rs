//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, BATCH, Database, Function, Sqs, body, environment, refusal, store_batch};

const BINARY: &str = env!("CARGO_BIN_EXE_resume-batch");

async fn world() -> (Function, Database, Sqs) {
    let (sqs, database) = (Sqs::start().await, Database::create().await);
    let environment = [
        ("OUTBOUND_QUEUE_URL", sqs.queue("outbound")),
        ("AWS_ENDPOINT_URL_SQS", sqs.url().to_owned()),
        ("DATABASE_URL", database.url()),
    ];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    (Function::start(BINARY, &environment).await, database, sqs)
}

fn request(id: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/sms/bulk/{id}/resume"))
        .scopes("messages:send")
        .path_parameter("batch_id", id)
}

async fn call(function: &mut Function, id: &str) -> Value {
    function.call(request(id).event()).await
}

#[tokio::test]
async fn messages_are_due_again_and_their_sender_is_woken() {
    let (mut function, database, sqs) = world().await;
    store_batch(&database, "paused", "sms_paused_until()").await;
    let reply = call(&mut function, BATCH).await;
    assert_eq!((&reply["statusCode"], &body(&reply)["status"]), (&json!(200), &json!("running")), "{reply}");
    let due = "select count(*) from sms_messages where next_attempt_at <= now()";
    assert_eq!(database.scalar(due).await, "1", "neither the claimed one nor the one that was handed over");
    assert_eq!(database.scalar("select count(*) from sms_batches where resumed_at is null").await, "1");
    assert_eq!(sqs.sent().len(), 1);
    // A repetition changes nothing.
    assert_eq!(call(&mut function, BATCH).await["statusCode"], 200);
    assert_eq!(sqs.sent().len(), 1);
}

#[tokio::test]
async fn a_batch_that_has_ended_is_a_conflict() {
    let (mut function, database, _sqs) = world().await;
    store_batch(&database, "running", "now()").await;
    database.client.batch_execute("update sms_batches set completed_at = now()").await.expect("an update");
    assert_eq!(refusal(&call(&mut function, BATCH).await), "409 sms.conflict");
    let sql = "update sms_batches set completed_at = null, state = 'cancelled'";
    database.client.batch_execute(sql).await.expect("an update");
    assert_eq!(refusal(&call(&mut function, BATCH).await), "409 sms.conflict");
}

#[tokio::test]
async fn an_invalid_id_is_400_an_unknown_id_404_and_a_missing_scope_403() {
    let (mut function, _database, _sqs) = world().await;
    assert_eq!(refusal(&call(&mut function, BATCH).await), "404 sms.not_found");
    let invalid = call(&mut function, "SM1").await;
    assert_eq!(refusal(&invalid), "400 sms.validation_error\n  batch_id: is not a UUID");
    let other = function.call(request(BATCH).scopes("messages:read").event()).await;
    assert_eq!(refusal(&other), "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let environment = [
        ("OUTBOUND_QUEUE_URL", "http://127.0.0.1:1/1/outbound"),
        ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1"),
        ("DATABASE_URL", "postgres://u@127.0.0.1:1/x"),
    ];
    let mut function = Function::start(BINARY, &environment).await;
    assert_eq!(refusal(&call(&mut function, BATCH).await), "503 sms.unavailable");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // It changes messages for ten seconds.
    environment::check::<resume_batch::Config>(
        "resume-batch",
        Duration::from_secs(10),
        &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 2), ("SQS_SEND_BUDGET_MS", 1)],
    );
}
