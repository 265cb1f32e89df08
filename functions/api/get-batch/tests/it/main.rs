//! Tests of the binary through the Runtime API.
#![expect(clippy::expect_used, reason = "a failed test setup should stop the test")]

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_get-batch");
const BATCH: &str = "01900000-0000-7000-8000-0000000000bb";

/// Stores a batch with three messages: one is pending, one was handed over, one is claimed.
const STORE: &str = "
    insert into sms_batches (id, state, total, segments, created_at, changed_at)
    values ('01900000-0000-7000-8000-0000000000bb', 'STATE', 3, 5, now(), now());
    insert into sms_batch_counts (batch_id, status, messages)
    select '01900000-0000-7000-8000-0000000000bb', c.* from (values ('pending', 2), ('queued', 1), ('failed', 0)) c;
    insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
    values (sms_new_id(), 'AC1', '+12035550123', '+12035550123', now());
    insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content, delivery_status,
        encoding, segments, priority, next_attempt_at, claimed_at, twilio_sid, created_at, batch_id)
    select sms_new_id(), c.id, 'outbound', '+18605550100', '+12035550123', 'x', m.status, 'GSM-7', 1, 'bulk', DUE,
        m.claimed_at, m.sid, now(), '01900000-0000-7000-8000-0000000000bb'
    from sms_conversations c, (values ('pending', null, null), ('queued', null, 'SM1'), ('pending', now(), null))
        as m (status, claimed_at, sid)";

async fn store(database: &Database, state: &str, due: &str) {
    let sql = STORE.replace("STATE", state).replace("DUE", due);
    database.client.batch_execute(&sql).await.expect("a batch");
}

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
    store(&database, "running", "now()").await;
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
