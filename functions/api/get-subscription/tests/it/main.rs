//! Tests of the binary through the Runtime API.

use serde_json::json;
use std::time::Duration;
use testing::{ApiRequest, SubscriptionWorld, body, check_outage, environment};

const BINARY: &str = env!("CARGO_BIN_EXE_get-subscription");

fn get(id: &str) -> ApiRequest {
    ApiRequest::new("GET", &format!("/subscriptions/{id}")).path_parameter("id", id)
}

#[tokio::test]
async fn a_subscription_is_returned_without_its_secret() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let state = "update sms_subscriptions set status = 'disabled', disabled_reason = 'gone', \
            failing_since = '2026-11-01T12:00:00Z', previous_secret = 'whsec_eA==', \
            previous_until = now() + interval '1 hour'; \
        insert into sms_delivery_streams (subscription_id, kind, position, target) \
            select id, 'replay', 0, 1 from sms_subscriptions";
    world.database.client.batch_execute(state).await.unwrap();
    let reply = world.function.call(get(&world.id).event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let found = body(&reply);
    assert_eq!((&found["id"], &found["url"]), (&json!(world.id), &json!(world.receiver.url("/hook"))));
    assert_eq!((&found["status"], &found["disabled_reason"]), (&json!("disabled"), &json!("gone")));
    assert_eq!(
        (&found["failing_since"], &found["is_replaying"]),
        (&json!("2026-11-01T12:00:00Z"), &json!(true))
    );
    assert!(found["previous_secret_until"].is_string());
    assert!(!reply.to_string().contains("whsec_"), "{reply}");

    let expired = "update sms_subscriptions set previous_until = now() - interval '1 second'";
    world.database.client.batch_execute(expired).await.unwrap();
    let found = body(&world.function.call(get(&world.id).event()).await);
    assert!(found["previous_secret_until"].is_null());
}

#[tokio::test]
async fn only_its_key_and_admin_see_a_subscription() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    world.check_access(get).await;
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &get("01900000-0000-7000-8000-00000000000c")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<get_subscription::Config>("get-subscription", Duration::ZERO, environment::API);
}
