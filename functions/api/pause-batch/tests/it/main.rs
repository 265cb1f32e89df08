//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, BATCH, Database, Function, body, environment, refusal, store_batch};

const BINARY: &str = env!("CARGO_BIN_EXE_pause-batch");

async fn world() -> (Function, Database) {
    let database = Database::create().await;
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

fn request(id: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/sms/bulk/{id}/pause"))
        .scopes("messages:send")
        .path_parameter("batch_id", id)
}

async fn call(function: &mut Function, id: &str) -> Value {
    function.call(request(id).event()).await
}

#[tokio::test]
async fn a_batch_is_paused_once_and_for_all_repetitions() {
    let (mut function, database) = world().await;
    store_batch(&database, "running", "now()").await;
    for _ in 0..2 {
        let reply = call(&mut function, BATCH).await;
        assert_eq!(
            (&reply["statusCode"], &body(&reply)["status"]),
            (&json!(200), &json!("paused")),
            "{reply}"
        );
    }
    assert_eq!(database.scalar("select state from sms_batches").await, "paused");
}

#[tokio::test]
async fn a_batch_that_has_ended_is_a_conflict() {
    let (mut function, database) = world().await;
    store_batch(&database, "running", "now()").await;
    database.client.batch_execute("update sms_batches set completed_at = now()").await.expect("an update");
    assert_eq!(refusal(&call(&mut function, BATCH).await), "409 sms.conflict");
    let sql = "update sms_batches set completed_at = null, state = 'cancelled'";
    database.client.batch_execute(sql).await.expect("an update");
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
    environment::check::<pause_batch::Config>("pause-batch", Duration::ZERO, environment::API);
}
