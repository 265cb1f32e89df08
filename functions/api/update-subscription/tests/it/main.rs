//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::time::Duration;
use testing::{ApiRequest, Receiver, SubscriptionWorld, body, check_outage, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_update-subscription");

/// The subscriber, and up to four statements.
const SENDING: &[environment::Wait] =
    &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 4), ("EVENTS_ATTEMPT_TIMEOUT_MS", 1)];

fn patch(id: &str, changes: &Value) -> ApiRequest {
    let request = ApiRequest::new("PATCH", &format!("/subscriptions/{id}")).path_parameter("id", id);
    request.scopes("subscriptions:manage").json(changes)
}

async fn change(world: &mut SubscriptionWorld, changes: &Value) -> Value {
    let request = patch(&world.id, changes);
    world.function.call(request.event()).await
}

#[tokio::test]
async fn given_fields_change_null_clears_and_absent_fields_stay() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let all = json!({
        "event_types": ["message.status"], "workflow_type": "collections", "tenant_id": "t-1",
        "include_unknown": false, "content": true, "max_in_flight": 3, "max_hold_seconds": 7, "description": "a",
    });
    let mut expected = body(&change(&mut world, &all).await);
    for (name, value) in all.as_object().unwrap() {
        assert_eq!(&expected[name], value, "{name}");
    }
    for changes in [
        json!({}),
        json!({"workflow_type": null, "tenant_id": null, "description": null}),
        json!({"event_types": []}),
        json!({"content": false, "max_in_flight": 100}),
        // Already its URL.
        json!({"url": world.receiver.url("/hook")}),
    ] {
        let reply = change(&mut world, &changes).await;
        assert_eq!(reply["statusCode"], 200, "{changes}: {reply}");
        let changed = body(&reply);
        for (name, value) in changes.as_object().unwrap() {
            expected[name] = value.clone();
        }
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected, "{changes}");
    }
    assert_eq!(world.receiver.received().len(), 0, "only a new destination is verified");
}

#[tokio::test]
async fn a_new_url_must_pass_the_challenge_with_the_current_secret() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let failing = "update sms_subscriptions set failing_since = now(), warned_percent = 50; \
        update sms_delivery_streams set failures = 9, paused_until = 'infinity', slow_until = 'infinity'";
    world.database.client.batch_execute(failing).await.unwrap();
    let new = Receiver::start().await;
    let url = new.url("/new");
    new.reply(500, &[], "");
    let reply = refusal(&change(&mut world, &json!({"url": url, "max_in_flight": 1})).await);
    let reason = "responded with status 500 to the verification request, instead of 2xx";
    assert_eq!(reply, format!("400 sms.validation_error\n  url: {reason}"));
    let kept = "select concat_ws(' ', url, max_in_flight, failing_since is null, warned_percent, failures, \
        paused_until, slow_until) from sms_subscriptions s join sms_delivery_streams d on d.subscription_id = s.id";
    let old = world.receiver.url("/hook");
    assert_eq!(world.database.scalar(kept).await, format!("{old} 10 f 50 9 infinity infinity"));

    new.accept();
    let reply = change(&mut world, &json!({"url": url, "max_in_flight": 1})).await;
    assert_eq!((&reply["statusCode"], &body(&reply)["url"]), (&json!(200), &json!(url)));
    assert_eq!(world.database.scalar(kept).await, format!("{url} 1 t 0 0 -infinity -infinity"));
    let request = new.received().remove(1);
    let webhook = Webhook::new(world.subscription.secret.expose()).unwrap();
    webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
    assert!(!reply.to_string().contains("whsec_"));
}

#[tokio::test]
async fn all_invalid_fields_are_reported_and_nothing_changes() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let before = world.database.scalar("select s::text from sms_subscriptions s").await;
    let changes = json!({"url": "http://a b/", "event_types": ["x"], "max_in_flight": 0, "status": "active"});
    let details = "url: must be an https URL with a host and without spaces\n  \
        event_types[0]: \"x\" is not an event type\n  max_in_flight: must be a whole number from 1 to 100\n  \
        status: is not a field of this request";
    let reply = refusal(&change(&mut world, &changes).await);
    assert_eq!(reply, format!("400 sms.validation_error\n  {details}"));
    let large = patch(&world.id, &json!({})).body(&"x".repeat(300_000));
    assert_eq!(refusal(&world.function.call(large.event()).await), "413 sms.payload_too_large");
    assert_eq!(world.database.scalar("select s::text from sms_subscriptions s").await, before);
}

#[tokio::test]
async fn only_its_key_and_admin_change_a_subscription() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    world.check_access(|id| patch(id, &json!({}))).await;
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &patch("01900000-0000-7000-8000-00000000000c", &json!({}))).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<update_subscription::Config>("update-subscription", Duration::ZERO, SENDING);
}
