//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::time::Duration;
use testing::{
    ApiRequest, Database, Function, KEY_ID, Receiver, Sqs, body, check_outage, environment, refusal,
};

const BINARY: &str = env!("CARGO_BIN_EXE_create-subscription");
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:events";

/// The subscriber, and up to four statements.
const SENDING: &[environment::Wait] =
    &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 4), ("EVENTS_ATTEMPT_TIMEOUT_MS", 1)];

struct World {
    function: Function,
    database: Database,
    receiver: Receiver,
    sqs: Sqs,
}

impl World {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let (database, receiver, sqs) =
            (Database::create().await, Receiver::start().await, Sqs::start().await);
        let url = database.url();
        let mut environment = vec![
            ("DATABASE_URL", url.as_str()),
            ("SUBSCRIBERS_ALLOW_LOOPBACK", "true"),
            ("SUBSCRIBER_QUEUE_ARNS", QUEUE),
            ("AWS_ENDPOINT_URL_SQS", sqs.url()),
            ("EVENTS_ATTEMPT_TIMEOUT_MS", "500"),
        ];
        environment.extend(variables);
        Self { function: Function::start(BINARY, &environment).await, database, receiver, sqs }
    }

    async fn post(&mut self, payload: &Value) -> Value {
        self.function.call(post(payload).event()).await
    }

    async fn stored(&self) -> String {
        self.database.scalar("select count(*) from sms_subscriptions").await
    }
}

fn post(payload: &Value) -> ApiRequest {
    ApiRequest::new("POST", "/subscriptions").scopes("subscriptions:manage").json(payload)
}

#[tokio::test]
async fn a_verified_url_is_subscribed_with_defaults_and_its_secret_is_shown() {
    let mut world = World::start(&[]).await;
    let url = world.receiver.url("/hook?a=b");
    let reply = world.post(&json!({"url": url, "event_types": ["message.received"]})).await;
    assert_eq!(reply["statusCode"], 201, "{reply}");
    let mut created = body(&reply);
    let secret = created["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let request = world.receiver.received().remove(0);
    let webhook = Webhook::new(&secret).unwrap();
    webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
    assert_eq!(request.json()["type"], "subscription.verification");

    let row = "select concat_ws(' ', id, api_key_id, secret) from sms_subscriptions";
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(world.database.scalar(row).await, format!("{id} {KEY_ID} {secret}"));
    for changing in ["id", "secret", "created_at", "updated_at"] {
        created.as_object_mut().unwrap().remove(changing).unwrap();
    }
    let expected = json!({
        "url": url, "queue_arn": null, "event_types": ["message.received"], "workflow_type": null,
        "tenant_id": null, "include_unknown": false, "content": false, "max_in_flight": 10,
        "max_hold_seconds": 300, "description": null, "status": "active", "disabled_reason": null,
        "failing_since": null, "previous_secret_until": null, "is_replaying": false,
    });
    assert_eq!(created, expected);
    let log = json!(world.function.log().await).to_string();
    assert!(!log.contains(&secret) && !log.contains("a=b"), "{log}");
}

#[tokio::test]
async fn all_fields_are_stored() {
    let mut world = World::start(&[]).await;
    let payload = json!({
        "url": world.receiver.url("/"), "event_types": [], "workflow_type": "collections", "tenant_id": "t-1",
        "include_unknown": true, "content": true, "max_in_flight": 1, "max_hold_seconds": 0, "description": "ü",
    });
    let created = body(&world.post(&payload).await);
    for (name, value) in payload.as_object().unwrap() {
        assert_eq!(&created[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_subscription_begins_at_the_end_of_the_log() {
    let mut world = World::start(&[]).await;
    let events = "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, \
            created_at) values (sms_new_id(), 'AC1', '+12035550100', '203', now()); \
        select sms_emit_events(array_fill('message.received'::text, array[3]), array_fill(id, array[3]), \
            array_fill(null::uuid, array[3]), array_fill('{}'::text, array[3]), now()) from sms_conversations";
    world.database.client.batch_execute(events).await.unwrap();
    world.post(&json!({"url": world.receiver.url("/"), "event_types": []})).await;
    // The committed events had no positions yet.
    let place = "select concat_ws(' ', kind, position, target) from sms_delivery_streams";
    assert_eq!(world.database.scalar(place).await, "live 3 3");
}

#[tokio::test]
async fn a_url_that_does_not_pass_the_challenge_is_refused_with_the_reason() {
    let mut world = World::start(&[]).await;
    let wrong = "must respond to the verification request with {\"challenge\":\"…\"}, with data.challenge of the \
                 request";
    let payload = json!({"url": world.receiver.url("/"), "event_types": []});
    for (status, reason) in [
        (200, wrong),
        (404, "responded with status 404 to the verification request, instead of 2xx"),
        (307, "responded with status 307 to the verification request, instead of 2xx"),
    ] {
        world.receiver.reply(status, &[("location", "https://example.com/")], "{}");
        let reply = refusal(&world.post(&payload).await);
        assert_eq!(reply, format!("400 sms.validation_error\n  url: {reason}"));
    }
    world.receiver.hang();
    let reply = refusal(&world.post(&payload).await);
    let reason = "did not accept the verification request: no response within 500 ms";
    assert_eq!(reply, format!("400 sms.validation_error\n  url: {reason}"));
    assert_eq!(world.stored().await, "0");
}

#[tokio::test]
async fn private_networks_are_refused() {
    let mut world = World::start(&[("SUBSCRIBERS_ALLOW_LOOPBACK", "false")]).await;
    let port = world.receiver.port();
    for (url, reason) in [
        (format!("https://127.0.0.1:{port}/"), "loopback"),
        (format!("https://localhost:{port}/"), "loopback"),
        (format!("https://2130706433:{port}/"), "loopback"),
        (format!("https://[::ffff:7f00:1]:{port}/"), "IPv4-mapped"),
        ("https://169.254.169.254/latest/meta-data/".to_owned(), "link-local or metadata"),
        ("https://10.0.0.1/".to_owned(), "private"),
    ] {
        let reply = refusal(&world.post(&json!({"url": url, "event_types": []})).await);
        let start = "400 sms.validation_error\n  url: ";
        assert!(
            reply.starts_with(start) && reply.contains("must have public addresses only"),
            "{url}: {reply}"
        );
        assert!(reply.contains(reason), "{url}: {reply}");
    }
    let reply = refusal(&world.post(&json!({"url": world.receiver.url("/"), "event_types": []})).await);
    assert!(reply.starts_with("400 sms.validation_error\n  url: "), "{reply}");
    assert_eq!((world.receiver.received().len(), world.stored().await), (0, "0".to_owned()));
}

#[tokio::test]
async fn a_queue_gets_the_challenge_and_must_be_allowed() {
    let mut world = World::start(&[]).await;
    let reply = world.post(&json!({"queue_arn": QUEUE, "event_types": []})).await;
    assert_eq!(reply["statusCode"], 201, "{reply}");
    assert_eq!((&body(&reply)["queue_arn"], &body(&reply)["url"]), (&json!(QUEUE), &Value::Null));
    let sent = world.sqs.sent().remove(0);
    assert_eq!(
        (sent.queue_url, &sent.body["type"]),
        (world.sqs.queue("events"), &json!("subscription.verification"))
    );

    let other = "arn:aws:sqs:us-east-1:000000000000:inbound";
    let reply = refusal(&world.post(&json!({"queue_arn": other, "event_types": []})).await);
    let reason = "is not one of the queues that this service may send to (SUBSCRIBER_QUEUE_ARNS)";
    assert_eq!(reply, format!("400 sms.validation_error\n  queue_arn: {reason}"));
    world.sqs.refuse_queue("events");
    let reply = refusal(&world.post(&json!({"queue_arn": QUEUE, "event_types": []})).await);
    let reason = "400 sms.validation_error\n  queue_arn: did not accept the verification request: ";
    assert!(reply.starts_with(reason), "{reply}");
    assert_eq!(world.stored().await, "1");
}

#[tokio::test]
async fn all_invalid_fields_are_reported_before_anything_is_sent() {
    let mut world = World::start(&[]).await;
    let url = world.receiver.url("/");
    for (payload, details) in [
        (json!({}), "event_types: is missing\n  url: is missing"),
        (json!({"url": url}), "event_types: is missing"),
        (json!({"url": url, "event_types": ["x"]}), "event_types[0]: \"x\" is not an event type"),
        (json!({"url": url, "event_types": [], "secret": "x"}), "secret: is not a field of this request"),
        (
            json!({"url": url, "queue_arn": QUEUE, "event_types": []}),
            "queue_arn: cannot be given together with url",
        ),
        (
            json!({"url": "https://u:p@a.example/", "event_types": 1, "max_in_flight": 101, "description": " "}),
            "url: must not contain credentials; requests are signed instead\n  \
             event_types: must be a list of strings, not a number\n  \
             max_in_flight: must be a whole number from 1 to 100\n  description: is blank; null clears it",
        ),
    ] {
        let reply = refusal(&world.post(&payload).await);
        assert_eq!(reply, format!("400 sms.validation_error\n  {details}"), "{payload}");
    }
    for (request, response) in [
        (post(&json!({})).scopes("events:read"), "403 sms.forbidden"),
        (post(&json!({})).body("[]"), "400 sms.validation_error\n  request body: is not a JSON object"),
        (post(&json!({})).body(&"x".repeat(300_000)), "413 sms.payload_too_large"),
    ] {
        assert_eq!(refusal(&world.function.call(request.event()).await), response);
    }
    assert_eq!((world.receiver.received().len(), world.stored().await), (0, "0".to_owned()));
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let receiver = Receiver::start().await;
    let variables =
        [("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"), ("SUBSCRIBERS_ALLOW_LOOPBACK", "true")];
    let mut function = Function::start(BINARY, &variables).await;
    let request = post(&json!({"url": receiver.url("/"), "event_types": []}));
    assert_eq!(refusal(&function.call(request.event()).await), "503 sms.unavailable");
    check_outage(BINARY, &request.unverified("smsk_0123456789012345678901234567890123456789abc")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<create_subscription::Config>("create-subscription", Duration::ZERO, SENDING);
}
