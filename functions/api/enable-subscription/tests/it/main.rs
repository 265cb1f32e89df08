//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::json;
use standardwebhooks::Webhook;
use std::time::Duration;
use testing::{ApiRequest, SubscriptionWorld, body, check_outage, environment};

const BINARY: &str = env!("CARGO_BIN_EXE_enable-subscription");

/// The subscriber, and up to four statements.
const SENDING: &[environment::Wait] =
    &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 4), ("EVENTS_ATTEMPT_TIMEOUT_MS", 1)];

fn post(id: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/subscriptions/{id}/enable")).path_parameter("id", id)
}

/// Disables the subscription, whose stream is at position 1, and adds two events to the log.
async fn disable(world: &SubscriptionWorld) {
    let disabled = "update sms_subscriptions set status = 'disabled', disabled_reason = 'failing', \
            failing_since = now(), warned_percent = 90; \
        update sms_event_counter set last_position = 1; \
        update sms_delivery_streams set position = 1, target = 1, failures = 9, paused_until = 'infinity'; \
        insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at) \
            values (sms_new_id(), 'AC1', '+12035550100', '203', now()); \
        select sms_emit_events(array_fill('message.received'::text, array[2]), array_fill(id, array[2]), \
            array_fill(null::uuid, array[2]), array_fill('{}'::text, array[2]), now()) from sms_conversations";
    world.database.client.batch_execute(disabled).await.unwrap();
}

async fn state(world: &SubscriptionWorld) -> String {
    let state = "select concat_ws(' ', status, coalesce(disabled_reason, '-'), failing_since is null, warned_percent, \
        position, target, failures, paused_until) \
        from sms_subscriptions s join sms_delivery_streams d on d.subscription_id = s.id";
    world.database.scalar(state).await
}

#[tokio::test]
async fn a_successful_test_delivery_enables_and_no_event_is_skipped() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    disable(&world).await;
    let reply = world.function.call(post(&world.id).event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let enabled = body(&reply);
    assert_eq!((&enabled["status"], &enabled["disabled_reason"]), (&json!("active"), &json!(null)));
    assert_eq!(state(&world).await, "active - t 0 1 3 0 -infinity");
    let request = world.receiver.received().remove(0);
    assert_eq!(request.json()["type"], "subscription.test");
    let webhook = Webhook::new(world.subscription.secret.expose()).unwrap();
    webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
}

#[tokio::test]
async fn a_failed_test_delivery_is_a_conflict_and_changes_nothing() {
    let mut world = SubscriptionWorld::start(BINARY, &[("EVENTS_ATTEMPT_TIMEOUT_MS", "300")]).await;
    disable(&world).await;
    let before = state(&world).await;
    for (status, reason) in [(500, "status 500"), (410, "status 410"), (0, "no response within 300 ms")] {
        if status == 0 {
            world.receiver.hang();
        } else {
            world.receiver.reply(status, &[], "");
        }
        let reply = world.function.call(post(&world.id).event()).await;
        let error = &body(&reply)["error"];
        assert_eq!((&reply["statusCode"], &error["code"]), (&json!(409), &json!("sms.conflict")));
        assert_eq!(error["message"], format!("the test delivery failed: {reason}"));
        assert_eq!(state(&world).await, before);
    }
}

#[tokio::test]
async fn an_active_subscription_stays_as_it_is() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let work = "update sms_delivery_streams set failures = 3";
    world.database.client.batch_execute(work).await.unwrap();
    let before = state(&world).await;
    let reply = world.function.call(post(&world.id).event()).await;
    assert_eq!((&reply["statusCode"], &body(&reply)["status"]), (&json!(200), &json!("active")));
    assert_eq!(state(&world).await, before);
}

#[tokio::test]
async fn only_its_key_and_admin_enable_a_subscription() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    world.check_access(post).await;
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &post("01900000-0000-7000-8000-00000000000c")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<enable_subscription::Config>("enable-subscription", Duration::ZERO, SENDING);
}
