//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::api_keys::{self, ApiKey};
use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, eventually, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_get-message");
const ID: &str = "01900000-0000-7000-8000-0000000000aa";
const CONVERSATION: &str = "01900000-0000-7000-8000-00000000000c";

/// A message with one deferred and one accepted attempt, and three status callbacks.
async fn world() -> (Function, Database) {
    let database = Database::create().await;
    let rows = format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at) \
         values ('{CONVERSATION}', 'AC1', '+12035550123', '+12035550123', '2026-11-01T12:00:00Z'); \
         insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
            message_content, media, delivery_status, encoding, segments, priority, workflow_type, metadata, \
            send_before, \
            created_at) \
         values ('{ID}', '{CONVERSATION}', 'outbound', '+18605550100', '+12035550123', 'SM1', 'hello', \
            '[{{\"url\": \"https://example.com/a\", \"content_type\": null}}]', 'delivered', 'GSM-7', 1, 'urgent', \
            'collections', '{{\"unit\": \"4B\"}}', '2026-11-02T12:00:00Z', '2026-11-01T12:00:00.5Z'); \
         insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, error_code, detail, started_at, \
            finished_at) values \
            (gen_random_uuid(), '{ID}', 2, 'accepted', 'SM1', null, null, '2026-11-01T12:01:01Z', \
            '2026-11-01T12:01:02Z'), \
            (gen_random_uuid(), '{ID}', 1, 'not_processed', null, '20429', 'HTTP 429', '2026-11-01T12:00:01Z', null); \
         insert into sms_callbacks (packed_sid, event_status, error_code, message_id, contradicts, event_id, \
         created_at) \
         select sms_pack_sid('SM1'), status, code, '{ID}', contradicts, sms_new_id(), at::timestamptz from (values \
            ('delivered', null, false, '2026-11-01T12:01:04Z'), \
            ('sent', null, false, '2026-11-01T12:01:03Z'), \
            ('undelivered', '30003', true, '2026-11-01T12:01:05Z')) as t (status, code, contradicts, at)"
    );
    database.client.batch_execute(&rows).await.unwrap();
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

fn get(id: &str) -> ApiRequest {
    ApiRequest::new("GET", &format!("/messages/{id}")).scopes("messages:read").path_parameter("id", id)
}

#[tokio::test]
async fn a_message_has_its_attempts_and_status_history_in_order() {
    let (mut function, _database) = world().await;
    let reply = function.call(get(ID).event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let said = |status: &str, code: Option<&str>, contradicts: bool, second: u32| {
        json!({"status": status, "error_code": code, "twilio_sid": "SM1", "contradicts": contradicts,
            "at": format!("2026-11-01T12:01:0{second}Z")})
    };
    assert_eq!(
        body(&reply),
        json!({
            "id": ID, "conversation_id": CONVERSATION, "direction": "outbound", "from_number": "+18605550100",
            "to_number": "+12035550123", "messaging_service_sid": null, "replaced_from": null,
            "batch_id": null,
            "message_content": "hello", "content": "hello",
            "media": [{"url": "https://example.com/a", "content_type": null}], "twilio_sid": "SM1",
            "delivery_status": "delivered", "error_code": null, "encoding": "GSM-7", "segments": 1,
            "language": "unknown", "language_confidence": 0.0, "opt_out": null, "priority": "urgent",
            "purpose": "service",
            "workflow_type": "collections", "workflow_id": null,
            "metadata": {"unit": "4B"}, "send_at": null, "send_before": "2026-11-02T12:00:00Z",
            "next_attempt_at": null, "parked_at": null, "created_at": "2026-11-01T12:00:00.5Z",
            "attempts": [
                {"number": 1, "outcome": "not_processed", "twilio_sid": null, "error_code": "20429",
                    "detail": "HTTP 429", "started_at": "2026-11-01T12:00:01Z", "finished_at": null},
                {"number": 2, "outcome": "accepted", "twilio_sid": "SM1", "error_code": null, "detail": null,
                    "started_at": "2026-11-01T12:01:01Z", "finished_at": "2026-11-01T12:01:02Z"},
            ],
            "status_history": [
                said("sent", None, false, 3), said("delivered", None, false, 4),
                said("undelivered", Some("30003"), true, 5),
            ],
        })
    );
}

#[tokio::test]
async fn an_inbound_message_has_its_files_with_their_status() {
    let (mut function, database) = world().await;
    let (pending, stored, erased) = (
        "01900000-0000-7000-8000-0000000000f1",
        "01900000-0000-7000-8000-0000000000f2",
        "01900000-0000-7000-8000-0000000000f3",
    );
    let rows = format!(
        "update sms_messages set direction = 'inbound', delivery_status = 'received'; \
         insert into sms_media (id, message_id, position, url, declared_type, detected_type, size, sha256, status, \
             created_at, erased_at) values \
         ('{stored}', '{ID}', 2, 'https://api.twilio.com/2', 'image/png', 'image/jpeg', 12, 'ab', 'stored', now(), \
             null), \
         ('{pending}', '{ID}', 1, 'https://api.twilio.com/1', 'image/png', null, null, null, 'pending', now(), null), \
         ('{erased}', '{ID}', 3, '', null, null, null, null, 'stored', now(), now())"
    );
    // A message from before files were copied has Twilio's references.
    let before = "update sms_messages set direction = 'inbound', delivery_status = 'received'";
    database.client.batch_execute(before).await.unwrap();
    let linked = json!([{"url": "https://example.com/a", "content_type": null}]);
    assert_eq!(body(&function.call(get(ID).event()).await)["media"], linked);
    database.client.batch_execute(&rows).await.unwrap();
    assert_eq!(
        body(&function.call(get(ID).event()).await)["media"],
        json!([
            {"id": pending, "url": format!("/media/{pending}"), "content_type": "image/png", "size": null,
                "sha256": null, "status": "pending"},
            {"id": stored, "url": format!("/media/{stored}"), "content_type": "image/jpeg", "size": 12,
                "sha256": "ab", "status": "stored"},
        ])
    );
}

#[tokio::test]
async fn numbers_in_metadata_are_unchanged() {
    let (mut function, database) = world().await;
    let metadata =
        r#"{"a": 123456789012345678901234567890, "b": 18446744073709551616, "c": [1250.00, 0.10, -0.5]}"#;
    let change = format!("update sms_messages set metadata = '{metadata}'");
    database.client.batch_execute(&change).await.unwrap();
    let reply = function.call(get(ID).event()).await;
    let text = reply["body"].as_str().unwrap();
    assert!(text.contains(metadata), "{text}");
}

#[tokio::test]
async fn each_response_is_logged_with_the_callers_request_id() {
    let (mut function, _database) = world().await;
    let unknown = "01900000-0000-7000-8000-0000000000ab";
    for (id, request_id, line) in [
        (ID, "job-1", json!({"message": "request completed", "status": 200})),
        (unknown, "job-2", json!({"message": "request rejected", "code": "sms.not_found"})),
    ] {
        function.call(get(id).header("x-request-id", request_id).event()).await;
        let logged = eventually("a line under the request's id", async || {
            function.log().await.into_iter().find(|logged| logged["request_id"] == request_id)
        })
        .await;
        for (key, value) in line.as_object().unwrap() {
            assert_eq!(&logged[key], value, "{logged}");
        }
    }
}

#[tokio::test]
async fn an_unfinished_message_shows_its_next_attempt_and_latest_sid() {
    let (mut function, database) = world().await;
    let (due, since) = ("2026-11-01T14:00:00Z", "2026-11-02T12:00:00Z");
    let (pending, unknown) =
        ("twilio_sid = null, delivery_status = 'pending'", "delivery_status = 'unknown'");
    for (changes, expected) in [
        // After a temporary failure: the next attempt is in two hours.
        (format!("{pending}, next_attempt_at = '{due}'"), json!(["pending", "SM1", due, null])),
        (format!("{pending}, claimed_at = now()"), json!(["pending", "SM1", null, null])),
        (format!("{unknown}, claimed_at = null, twilio_sid = null"), json!(["unknown", "SM1", null, null])),
        (format!("{unknown}, parked_at = '{since}'"), json!(["unknown", "SM1", null, since])),
        (
            "delivery_status = 'sent', parked_at = null, twilio_sid = 'SM2'".to_owned(),
            json!(["sent", "SM2", null, null]),
        ),
    ] {
        database.client.batch_execute(&format!("update sms_messages set {changes}")).await.unwrap();
        let message = body(&function.call(get(ID).event()).await);
        let shown =
            ["delivery_status", "twilio_sid", "next_attempt_at", "parked_at"].map(|field| &message[field]);
        assert_eq!(json!(shown), expected, "{changes}");
    }
    let untried = "update sms_messages set twilio_sid = null; delete from sms_send_attempts";
    database.client.batch_execute(untried).await.unwrap();
    assert_eq!(body(&function.call(get(ID).event()).await)["twilio_sid"], Value::Null);
}

#[tokio::test]
async fn an_invalid_id_is_400_and_an_unknown_id_404() {
    let (mut function, _database) = world().await;
    for id in ["7", "SM1", "", " ", "\u{0}", &format!("{ID}0")] {
        let reply = function.call(get(id).event()).await;
        assert_eq!(refusal(&reply), "400 sms.validation_error\n  id: is not a UUID", "{id:?}");
    }
    let reply = function.call(get("01900000-0000-7000-8000-0000000000ab").event()).await;
    assert_eq!(refusal(&reply), "404 sms.not_found");
    assert_eq!(function.call(get(&ID.to_uppercase()).event()).await["statusCode"], 200);
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let (mut function, _database) = world().await;
    let reply = function.call(get(ID).scopes("messages:send conversations:read").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
}

/// Stores a key that may read messages, and returns it.
async fn key(database: &Database) -> String {
    let (secret, id) = (api_keys::generate(), clock::new_id());
    let key = ApiKey {
        id,
        name: "a workflow".to_owned(),
        scopes: "messages:read".to_owned(),
        expires_at: None,
        revoked_at: None,
        created_at: clock::now(),
    };
    api_keys::create(&database.db(), &key, &api_keys::hash(&secret)).await.unwrap();
    secret
}

#[tokio::test]
async fn an_unverified_key_is_verified_by_the_endpoint() {
    let (mut function, database) = world().await;
    let good = key(&database).await;
    assert_eq!(function.call(get(ID).unverified(&good).event()).await["statusCode"], 200);
    for other in [&api_keys::generate(), "x", ""] {
        let reply = function.call(get(ID).unverified(other).event()).await;
        assert_eq!(refusal(&reply), "401 sms.unauthorized", "{other}");
    }
    let restrict = "update api_keys set scopes = 'messages:send'";
    database.client.batch_execute(restrict).await.unwrap();
    assert_eq!(refusal(&function.call(get(ID).unverified(&good).event()).await), "403 sms.forbidden");
    database.client.batch_execute("update api_keys set revoked_at = now()").await.unwrap();
    assert_eq!(refusal(&function.call(get(ID).unverified(&good).event()).await), "401 sms.unauthorized");
    let mut function = Function::start(BINARY, &[("DATABASE_URL", "postgres://u@127.0.0.1:1/x")]).await;
    assert_eq!(refusal(&function.call(get(ID).unverified(&good).event()).await), "503 sms.unavailable");
}

#[tokio::test]
async fn a_broken_schema_is_500_and_an_unavailable_postgres_503() {
    let (mut function, database) = world().await;
    database.client.batch_execute("drop table sms_send_attempts").await.unwrap();
    let reply = function.call(get(ID).event()).await;
    assert_eq!(refusal(&reply), "500 sms.internal");
    assert!(!reply["body"].as_str().unwrap().contains("sms_send_attempts"), "{reply}");
    let mut function = Function::start(BINARY, &[("DATABASE_URL", "postgres://u@127.0.0.1:1/x")]).await;
    assert_eq!(refusal(&function.call(get(ID).event()).await), "503 sms.unavailable");
}

#[tokio::test]
async fn a_missing_configuration_stops_the_function_at_start() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "invalid configuration: DATABASE_URL is missing");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<get_message::Config>("get-message", Duration::ZERO, environment::API);
}
