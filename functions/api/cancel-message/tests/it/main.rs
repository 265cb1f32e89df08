//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::sends::{self, ClaimRequest, SendPace};
use common::domain::ids::MessageId;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_cancel-message");

async fn world() -> (Function, Database) {
    let database = Database::create().await;
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

/// Stores an outbound message in a state.
async fn message(database: &Database, changes: &str) -> MessageId {
    let send = testing::new_send("+12025550143");
    sends::create(&database.db(), &send, None).await.unwrap();
    let change = format!("update sms_messages set {changes} where id = '{}'", send.id);
    database.client.batch_execute(&change).await.unwrap();
    send.id
}

fn cancel(id: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/messages/{id}/cancel"))
        .scopes("messages:send")
        .path_parameter("id", id)
}

async fn status(database: &Database, id: MessageId) -> String {
    database.scalar(&format!("select delivery_status from sms_messages where id = '{id}'")).await
}

#[tokio::test]
async fn a_pending_message_is_canceled_whether_it_is_due_or_not() {
    let (mut function, database) = world().await;
    for changes in ["error_code = null", "next_attempt_at = now() + interval '1 day'", "error_code = '30003'"]
    {
        let id = message(&database, changes).await;
        let reply = function.call(cancel(&id.to_string()).event()).await;
        assert_eq!(
            (&reply["statusCode"], body(&reply)),
            (&json!(200), json!({"id": id, "status": "canceled"}))
        );
        assert_eq!(status(&database, id).await, "canceled");
        let later = clock::now() + jiff::SignedDuration::from_hours(30);
        let claims =
            sends::claim(&database.db(), &ClaimRequest::messages(&[id]), &SendPace::default(), later)
                .await
                .unwrap();
        assert!(claims.claimed.is_empty() && claims.refused.is_empty());
    }
}

#[tokio::test]
async fn a_message_that_was_sent_or_has_ended_is_not_canceled() {
    let (mut function, database) = world().await;
    for (changes, kept, reason) in [
        ("claimed_at = now()", "pending", "the message is being sent to Twilio"),
        ("delivery_status = 'unknown'", "unknown", "the message may have been sent: its status is unknown"),
        ("delivery_status = 'queued', twilio_sid = 'SM1'", "queued", "the message was sent to Twilio"),
        ("delivery_status = 'delivered'", "delivered", "the message was delivered"),
        ("delivery_status = 'undelivered'", "undelivered", "the message has failed"),
        ("delivery_status = 'failed'", "failed", "the message has failed"),
        ("delivery_status = 'canceled'", "canceled", "the message is already canceled"),
        (
            "direction = 'inbound', delivery_status = 'received', twilio_sid = 'SM2'",
            "received",
            "an inbound message cannot be canceled",
        ),
    ] {
        let id = message(&database, changes).await;
        let reply = function.call(cancel(&id.to_string()).event()).await;
        assert_eq!(reply["statusCode"], 409, "{changes}");
        let error: Value = body(&reply)["error"].clone();
        assert_eq!((&error["code"], &error["message"]), (&json!("sms.conflict"), &json!(reason)));
        assert_eq!(status(&database, id).await, kept);
    }
}

#[tokio::test]
async fn an_invalid_id_is_400_an_unknown_id_404_and_a_missing_scope_403() {
    let (mut function, _database) = world().await;
    let reply = function.call(cancel("01900000-0000-7000-8000-0000000000aa").event()).await;
    assert_eq!(refusal(&reply), "404 sms.not_found");
    let reply = function.call(cancel("SM1").event()).await;
    assert_eq!(refusal(&reply), "400 sms.validation_error\n  id: is not a UUID");
    let reply = function.call(cancel("SM1").scopes("messages:read").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_waits_for_a_row_lock_and_loses_to_a_claim() {
    let (mut function, database) = world().await;
    let id = message(&database, "error_code = null").await;
    let hold = format!("begin; update sms_messages set claimed_at = now() where id = '{id}'");
    database.client.batch_execute(&hold).await.unwrap();
    let event = cancel(&id.to_string()).event();
    let (reply, ()) = tokio::join!(function.call(event), async {
        let waiting = "select count(*) from pg_stat_activity, pg_stat_clear_snapshot()
                       where datname = current_database() and wait_event_type = 'Lock'";
        testing::eventually("the cancel waits", async || {
            (database.scalar(waiting).await == "1").then_some(())
        })
        .await;
        database.client.batch_execute("commit").await.unwrap();
    });
    assert_eq!(reply["statusCode"], 409);
    assert_eq!(status(&database, id).await, "pending");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_nothing_is_canceled() {
    let mut function = Function::start(BINARY, &[("DATABASE_URL", "postgres://u@127.0.0.1:1/x")]).await;
    let reply = function.call(cancel("01900000-0000-7000-8000-0000000000aa").event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
}

#[tokio::test]
async fn a_missing_configuration_stops_the_function_at_start() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "invalid configuration: DATABASE_URL is missing");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<cancel_message::Config>("cancel-message", Duration::ZERO, environment::API);
}
