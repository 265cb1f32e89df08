//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, BATCH, Database, Function, body, environment, refusal, store_batch};

const BINARY: &str = env!("CARGO_BIN_EXE_cancel-batch");

async fn world() -> (Function, Database) {
    let database = Database::create().await;
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

fn request(id: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/sms/bulk/{id}/cancel"))
        .scopes("messages:send")
        .path_parameter("batch_id", id)
}

async fn call(function: &mut Function, id: &str) -> Value {
    function.call(request(id).event()).await
}

#[tokio::test]
async fn waiting_messages_are_canceled_and_the_others_are_not() {
    let (mut function, database) = world().await;
    store_batch(&database, "paused", "sms_paused_until()").await;
    for _ in 0..2 {
        let reply = call(&mut function, BATCH).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
        let progress = body(&reply);
        assert_eq!(progress["status"], "cancelled");
        assert_eq!(progress["by_status"], json!({"canceled": 1, "pending": 1, "queued": 1}));
    }
    let events = "select count(*) from sms_events_pending where event_type = 'message.status'";
    assert_eq!(database.scalar(events).await, "1");
}

#[tokio::test]
async fn a_batch_that_has_ended_is_a_conflict() {
    let (mut function, database) = world().await;
    store_batch(&database, "running", "now()").await;
    database.client.batch_execute("update sms_batches set completed_at = now()").await.expect("an update");
    assert_eq!(refusal(&call(&mut function, BATCH).await), "409 sms.conflict");
}

#[tokio::test]
async fn an_invalid_id_is_400_an_unknown_id_404_and_a_missing_scope_403() {
    let (mut function, _database) = world().await;
    assert_eq!(refusal(&call(&mut function, BATCH).await), "404 sms.not_found");
    let invalid = call(&mut function, "SM1").await;
    assert_eq!(refusal(&invalid), "400 sms.validation_error\n  batch_id: is not a UUID");
    let other = function.call(request(BATCH).scopes("messages:read").event()).await;
    assert_eq!(refusal(&other), "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let mut function = Function::start(BINARY, &[("DATABASE_URL", "postgres://u@127.0.0.1:1/x")]).await;
    assert_eq!(refusal(&call(&mut function, BATCH).await), "503 sms.unavailable");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // It changes messages for ten seconds.
    environment::check::<cancel_batch::Config>("cancel-batch", Duration::from_secs(10), environment::API);
}
