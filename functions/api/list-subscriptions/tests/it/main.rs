//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::db::subscriptions;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{
    ApiRequest, OTHER_KEY_ID, SubscriptionWorld, body, check_outage, environment, new_subscription, refusal,
};

const BINARY: &str = env!("CARGO_BIN_EXE_list-subscriptions");

fn get(query: &str) -> ApiRequest {
    ApiRequest::new("GET", "/subscriptions").scopes("subscriptions:manage").query(query)
}

fn ids(page: &Value) -> Vec<String> {
    let listed = page["subscriptions"].as_array().unwrap().iter();
    listed.map(|subscription| subscription["id"].as_str().unwrap().to_owned()).collect()
}

/// Starts with five subscriptions of a key, and one of another; returns their ids, newest first.
async fn start() -> (SubscriptionWorld, Vec<String>, String) {
    let world = SubscriptionWorld::start(BINARY, &[]).await;
    let mut own = vec![world.id.clone()];
    for _ in 0..4 {
        let subscription = new_subscription("https://a.example/");
        subscriptions::create(&world.database.db(), &subscription).await.unwrap();
        own.insert(0, subscription.id.to_string());
    }
    let mut other = new_subscription("https://b.example/");
    other.api_key_id = OTHER_KEY_ID.parse().unwrap();
    subscriptions::create(&world.database.db(), &other).await.unwrap();
    (world, own, other.id.to_string())
}

#[tokio::test]
async fn a_key_sees_its_own_subscriptions_and_admin_sees_all() {
    let (mut world, own, other) = start().await;
    let listed = body(&world.function.call(get("").event()).await);
    assert_eq!(ids(&listed), own);
    assert_eq!((&listed["limit"], &listed["next_cursor"]), (&json!(100), &Value::Null));
    assert!(listed["subscriptions"][0].get("secret").is_none());
    let listed = body(&world.function.call(get("").key(OTHER_KEY_ID).event()).await);
    assert_eq!(ids(&listed), std::slice::from_ref(&other));
    let listed = body(&world.function.call(get("").scopes("admin").event()).await);
    assert_eq!(ids(&listed), [vec![other], own].concat());
}

#[tokio::test]
async fn pages_contain_every_subscription_once() {
    let (mut world, own, _) = start().await;
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = body(&world.function.call(get(&query).event()).await);
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(seen, own);
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (mut world, _, _) = start().await;
    let reply = refusal(&world.function.call(get("cursor=1&limit=0").event()).await);
    let details = "cursor: is not a next_cursor of this API\n  limit: must be a whole number from 1 to 1000";
    assert_eq!(reply, format!("400 sms.validation_error\n  {details}"));
    let reply = refusal(&world.function.call(get("").scopes("events:read").event()).await);
    assert_eq!(reply, "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &get("")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<list_subscriptions::Config>("list-subscriptions", Duration::ZERO, environment::API);
}
