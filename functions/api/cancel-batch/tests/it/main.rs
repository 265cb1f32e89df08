//! Tests of the binary through the Runtime API.
#![expect(clippy::expect_used, reason = "a failed test setup should stop the test")]

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_cancel-batch");
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
    store(&database, "paused", "sms_paused_until()").await;
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
    store(&database, "running", "now()").await;
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
