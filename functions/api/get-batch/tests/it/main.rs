//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, BATCH, Database, Function, body, environment, refusal, store_batch};

const BINARY: &str = env!("CARGO_BIN_EXE_get-batch");

async fn world() -> (Function, Database) {
    let database = Database::create().await;
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

fn request(id: &str) -> ApiRequest {
    ApiRequest::new("GET", &format!("/sms/bulk/{id}")).scopes("messages:read").path_parameter("batch_id", id)
}

async fn call(function: &mut Function, id: &str) -> Value {
    function.call(request(id).event()).await
}

#[tokio::test]
async fn the_progress_comes_from_the_counts() {
    let (mut function, database) = world().await;
    store_batch(&database, "running", "now()").await;
    let reply = call(&mut function, BATCH).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let expected = json!({
        "batch_id": BATCH, "status": "running", "total": 3, "by_status": {"pending": 2, "queued": 1}, "segments": 5,
    });
    assert_eq!(body(&reply), expected);
    for (change, status) in [
        ("state = 'paused'", "paused"),
        ("state = 'running', completed_at = now()", "completed"),
        ("state = 'cancelled'", "cancelled"),
    ] {
        let sql = format!("update sms_batches set {change}");
        database.client.batch_execute(&sql).await.expect("an update");
        assert_eq!(body(&call(&mut function, BATCH).await)["status"], status);
    }
}

#[tokio::test]
async fn an_invalid_id_is_400_an_unknown_id_404_and_a_missing_scope_403() {
    let (mut function, _database) = world().await;
    assert_eq!(refusal(&call(&mut function, BATCH).await), "404 sms.not_found");
    let invalid = call(&mut function, "SM1").await;
    assert_eq!(refusal(&invalid), "400 sms.validation_error\n  batch_id: is not a UUID");
    let other = function.call(request(BATCH).scopes("messages:send").event()).await;
    assert_eq!(refusal(&other), "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let mut function = Function::start(BINARY, &[("DATABASE_URL", "postgres://u@127.0.0.1:1/x")]).await;
    assert_eq!(refusal(&call(&mut function, BATCH).await), "503 sms.unavailable");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<get_batch::Config>("get-batch", Duration::ZERO, environment::API);
}
