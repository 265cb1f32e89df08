//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, SubscriptionWorld, body, check_outage, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_rotate-secret");

fn post(id: &str, payload: &str) -> ApiRequest {
    let path = format!("/subscriptions/{id}/rotate-secret");
    ApiRequest::new("POST", &path).path_parameter("id", id).scopes("subscriptions:manage").body(payload)
}

async fn rotate(world: &mut SubscriptionWorld, payload: &str) -> Value {
    let request = post(&world.id, payload);
    world.function.call(request.event()).await
}

/// The current and the previous secret, and for how many minutes that signs.
async fn stored(world: &SubscriptionWorld) -> String {
    let stored = "select concat_ws(' ', secret, coalesce(previous_secret, '-'), \
        coalesce(round(extract(epoch from previous_until - now()) / 60)::text, '-')) from sms_subscriptions";
    world.database.scalar(stored).await
}

#[tokio::test]
async fn the_new_secret_is_shown_and_the_previous_one_signs_for_the_grace_period() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let mut previous = world.subscription.secret.expose().to_owned();
    for (payload, minutes) in
        [("{}", 1_440), ("{\"grace_seconds\": 604800}", 10_080), ("", 1_440), ("null", 1_440)]
    {
        let reply = rotate(&mut world, payload).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
        let secret = body(&reply)["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("whsec_") && secret != previous);
        assert!(body(&reply)["previous_secret_until"].is_string());
        assert_eq!(stored(&world).await, format!("{secret} {previous} {minutes}"));
        let log = json!(world.function.log().await).to_string();
        assert!(!log.contains("whsec_"), "{log}");
        previous = secret;
    }
    let reply = rotate(&mut world, r#"{"grace_seconds": 0}"#).await;
    let secret = body(&reply)["secret"].as_str().unwrap().to_owned();
    assert_eq!(stored(&world).await, format!("{secret} - -"));
    assert!(body(&reply)["previous_secret_until"].is_null());
}

#[tokio::test]
async fn invalid_fields_are_reported_and_nothing_changes() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let range = "grace_seconds: must be a whole number from 0 to 604800";
    for (payload, details) in [
        (r#"{"grace_seconds": 604801}"#, range),
        (r#"{"grace_seconds": -1}"#, range),
        (r#"{"grace_seconds": "1"}"#, range),
        (r#"{"secret": "whsec_eA=="}"#, "secret: is not a field of this request"),
        ("[]", "request body: is not a JSON object"),
    ] {
        let reply = refusal(&rotate(&mut world, payload).await);
        assert_eq!(reply, format!("400 sms.validation_error\n  {details}"), "{payload}");
    }
    assert_eq!(stored(&world).await, format!("{} - -", world.subscription.secret.expose()));
}

#[tokio::test]
async fn only_its_key_and_admin_rotate_a_secret() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    world.check_access(|id| post(id, "{}")).await;
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &post("01900000-0000-7000-8000-00000000000c", "{}")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<rotate_secret::Config>("rotate-secret", Duration::ZERO, environment::API);
}
