//! Tests of the built binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::sends::{self, ClaimRequest, NewSend, SendPace};
use common::domain::ids::MessageId;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment};
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_manage-sends");
const SID: &str = "SM0123456789abcdef0123456789abcdef";

async fn start(database: &Database) -> Function {
    Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await
}

async fn rejected(function: &mut Function, payload: Value) -> String {
    match function.invoke(payload).await {
        Outcome::Error(error) => error["errorMessage"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Stores a message that is one hour old, with the given columns and an attempt with the given outcome.
async fn message(database: &Database, to: &str, changes: &str, outcome: &str) -> MessageId {
    let at = clock::now() - SignedDuration::from_hours(1);
    let send = NewSend { created_at: at, ..testing::new_send(to) };
    sends::create(&database.db(), &send, None).await.unwrap();
    let change = format!(
        "update sms_messages set {changes} where id = '{id}';
         insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, detail, started_at, finished_at)
         select gen_random_uuid(), id, 1, '{outcome}', twilio_sid, 'as it was', '{at}', '{at}'
         from sms_messages where id = '{id}'",
        id = send.id
    );
    database.client.batch_execute(&change).await.unwrap();
    send.id
}

async fn state(database: &Database, id: MessageId) -> String {
    let sql = format!(
        "select concat_ws(' ', m.delivery_status, coalesce(m.twilio_sid, '-'), coalesce(m.error_code, '-'),
             a.outcome, a.twilio_sid, case when m.parked_at is not null then 'parked' end)
         from sms_messages m join sms_send_attempts a on a.message_id = m.id where m.id = '{id}'"
    );
    database.scalar(&sql).await
}

const UNKNOWN: &str = "delivery_status = 'unknown', parked_at = now()";

#[tokio::test]
async fn a_decision_resolves_an_unknown_message() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let cases = [
        (json!({"was": "sent", "twilio_sid": SID}), "queued", format!("queued {SID} - accepted {SID}")),
        (json!({"was": "sent"}), "sent", "sent - - accepted".to_owned()),
        (json!({"was": "not_sent"}), "pending", "pending - - not_processed".to_owned()),
    ];
    for (mut payload, status, expected) in cases {
        let id = message(&database, "+12025550143", UNKNOWN, "unknown").await;
        payload["action"] = "decide".into();
        payload["message_id"] = id.to_string().into();
        let response = function.call(payload.clone()).await;
        assert_eq!(response, json!({"message_id": id, "status": status}));
        assert_eq!(state(&database, id).await, expected);
        let again = rejected(&mut function, payload).await;
        assert_eq!(again, format!("message {id} is {status}: there is nothing to decide"));
    }
    let due =
        "select count(*) from sms_messages where delivery_status = 'pending' and next_attempt_at <= now()";
    assert_eq!(database.scalar(due).await, "1", "a message that was not sent is due again");
}

#[tokio::test]
async fn an_expired_message_that_was_not_sent_fails() {
    let database = Database::create().await;
    let late = format!("{UNKNOWN}, send_before = now() - interval '1 minute'");
    let id = message(&database, "+12025550143", &late, "unknown").await;
    let payload = json!({"action": "decide", "message_id": id.to_string(), "was": "not_sent"});
    start(&database).await.call(payload).await;
    assert_eq!(state(&database, id).await, "failed - retries_exhausted not_processed");
}

#[tokio::test]
async fn the_sid_of_another_message_is_rejected() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let sent = format!("delivery_status = 'sent', twilio_sid = '{SID}'");
    message(&database, "+12025550143", &sent, "accepted").await;
    let id = message(&database, "+12025550143", UNKNOWN, "unknown").await;
    let payload = json!({"action": "decide", "message_id": id.to_string(), "was": "sent", "twilio_sid": SID});
    assert_eq!(rejected(&mut function, payload).await, "twilio_sid belongs to another message");
    assert_eq!(state(&database, id).await, "unknown - - unknown parked");
}

#[tokio::test]
async fn failed_messages_are_retried_unless_delivered_or_opted_out() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let failed =
        "delivery_status = 'undelivered', error_code = '30007', twilio_sid = 'SM1', send_before = created_at";
    let again = message(&database, "+12025550143", failed, "accepted").await;
    let delivered = message(&database, "+12025550143", "delivery_status = 'failed'", "rejected").await;
    let stopped = message(&database, "+12025550144", "delivery_status = 'failed'", "rejected").await;
    let sent = message(&database, "+12025550143", "delivery_status = 'sent'", "accepted").await;
    let unknown = MessageId::from(Uuid::nil());
    let changes = format!(
        "update sms_send_attempts set twilio_sid = 'SM9' where message_id = '{delivered}';
         insert into sms_callbacks (packed_sid, event_status, message_id, event_id, created_at)
         values (sms_pack_sid('SM9'), 'delivered', '{delivered}', sms_new_id(), now());
         update sms_conversations set opted_out_at = now() where phone_number_canonical = '+12025550144'"
    );
    database.client.batch_execute(&changes).await.unwrap();
    let ids = [again, delivered, stopped, sent, unknown].map(|id| id.to_string());
    let response = function.call(json!({"action": "retry", "message_ids": ids})).await;
    assert_eq!(
        response,
        json!({"retried": [again], "refused": [
            {"message_id": delivered, "reason": "it was delivered"},
            {"message_id": stopped, "reason": "its recipient has opted out"},
            {"message_id": sent, "reason": "it has not failed"},
            {"message_id": unknown, "reason": "the message does not exist"},
        ]})
    );
    assert_eq!(state(&database, again).await, "pending - - accepted SM1", "the earlier attempt is kept");
    let (asked, pace) = (ClaimRequest::messages(&[again]), SendPace::default());
    let claims = sends::claim(&database.db(), &asked, &pace, clock::now()).await.unwrap();
    assert_eq!(claims.claimed[0].attempt_number, 2);
    assert_eq!(
        database
            .scalar(
                "select send_before is null from sms_messages where twilio_sid is null \
        and delivery_status = 'pending'"
            )
            .await,
        "t"
    );
}

#[tokio::test]
async fn a_message_that_retention_has_passed_is_not_retried_and_a_newer_picture_without_text_is() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let failed =
        r#"delivery_status = 'failed', message_content = '', media = '[{"url": "https://example.com/a"}]'"#;
    let id = message(&database, "+12025550143", failed, "rejected").await;
    let picture = message(&database, "+12025550143", failed, "rejected").await;
    let passed = format!("insert into sms_retention_cursors values ('media', '{id}', now())");
    database.client.batch_execute(&passed).await.unwrap();
    let ids = [id, picture].map(|id| id.to_string());
    let response = function.call(json!({"action": "retry", "message_ids": ids})).await;
    let reason = "it is older than the retention of messages";
    assert_eq!(response, json!({"retried": [picture], "refused": [{"message_id": id, "reason": reason}]}));
}

#[tokio::test]
async fn failed_messages_are_retried_by_error_code_and_time_up_to_a_limit() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let blocked = "delivery_status = 'failed', error_code = '30007'";
    let first = message(&database, "+12025550143", blocked, "rejected").await;
    let second = message(&database, "+12025550144", blocked, "rejected").await;
    message(&database, "+12025550145", "delivery_status = 'failed', error_code = '30006'", "rejected").await;
    let since = (clock::now() - SignedDuration::from_hours(2)).to_string();
    let early = (clock::now() - SignedDuration::from_mins(90)).to_string();
    let retry = |limit: u32, until: Option<&str>| {
        json!({"action": "retry", "error_code": "30007", "since": since,
        "until": until, "limit": limit})
    };
    let nothing = function.call(retry(10, Some(&early))).await;
    assert_eq!(nothing, json!({"retried": [], "refused": []}));
    assert_eq!(function.call(retry(1, None)).await["retried"], json!([first]));
    assert_eq!(function.call(retry(10, None)).await["retried"], json!([second]));
}

#[tokio::test]
async fn unknown_and_failed_messages_are_listed_without_texts_and_phone_numbers() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let id = message(&database, "+12025550143", UNKNOWN, "unknown").await;
    message(&database, "+12025550143", "delivery_status = 'failed'", "rejected").await;
    let listed = function.call(json!({"action": "list", "status": "unknown"})).await;
    let messages = listed["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["id"]), (1, &json!(id)));
    assert_eq!((&messages[0]["attempts"], &messages[0]["detail"]), (&json!(1), &json!("as it was")));
    assert!(messages[0]["parked_at"].is_string());
    assert!(!listed.to_string().contains("5550143") && !listed.to_string().contains("rent"), "{listed}");
}

#[tokio::test]
async fn an_invalid_payload_is_rejected_with_all_fields_and_reasons() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let unknown = Uuid::nil().to_string();
    let cases = [
        (json!("list"), "request body is not a JSON object"),
        (json!({}), "action must be decide, retry or list"),
        (json!({"action": "decide"}), "message_id is missing; was must be sent or not_sent"),
        (
            json!({"action": "decide", "message_id": "7", "was": "lost", "twilio_sid": "SM1", "x": 1}),
            "message_id is not a UUID; twilio_sid must be SM or MM followed by 32 hexadecimal digits; \
             was must be sent or not_sent; x is not a field of this request",
        ),
        (
            json!({"action": "decide", "message_id": unknown, "was": "not_sent", "twilio_sid": SID}),
            "twilio_sid is only allowed if was is sent",
        ),
        (json!({"action": "retry"}), "message_ids is missing"),
        (json!({"action": "retry", "message_ids": []}), "message_ids must contain between 1 and 1000 ids"),
        (json!({"action": "retry", "message_ids": ["7"]}), "message_ids[0] is not a UUID"),
        (
            json!({"action": "retry", "message_ids": [unknown], "error_code": "30007"}),
            "error_code cannot be combined with message_ids",
        ),
        (json!({"action": "retry", "error_code": "30007"}), "since is missing"),
        (
            json!({"action": "retry", "error_code": "30007", "since": "2026-11-02T00:00:00Z",
                "until": "2026-11-01T00:00:00Z", "limit": 0}),
            "until must be after since; limit must be an integer between 1 and 1000",
        ),
        (json!({"action": "list"}), "status is missing"),
        (json!({"action": "list", "status": "sent"}), "status must be unknown, failed or undelivered"),
    ];
    for (payload, problems) in cases {
        let message = format!("invalid payload: {problems}");
        assert_eq!(rejected(&mut function, payload.clone()).await, message, "{payload}");
    }
    let payload = json!({"action": "decide", "message_id": unknown, "was": "sent"});
    assert_eq!(rejected(&mut function, payload).await, format!("unknown outbound message {unknown}"));
}

#[tokio::test]
async fn a_missing_variable_stops_the_function_at_startup() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "invalid configuration: DATABASE_URL is missing");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<manage_sends::Config>(
        "manage-sends",
        Duration::ZERO,
        &[environment::CONNECT, environment::STATEMENT],
    );
}
