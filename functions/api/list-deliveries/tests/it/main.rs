//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, SubscriptionWorld, body, check_outage, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_list-deliveries");
const EVENT: &str = "01900000-0000-7000-8000-00000000000a";

fn get(id: &str) -> ApiRequest {
    let path = format!("/subscriptions/{id}/deliveries");
    ApiRequest::new("GET", &path).path_parameter("id", id).scopes("subscriptions:manage")
}

/// Starts with five attempts of the subscription, and one of another.
async fn start() -> SubscriptionWorld {
    let world = SubscriptionWorld::start(BINARY, &[]).await;
    let attempts = format!(
        "insert into sms_delivery_attempts (id, subscription_id, event_id, attempt, attempted_at, duration_ms, \
            status_code, error, response_body, next_attempt_at) \
         select sms_first_id('2026-11-01T12:00:00Z'::timestamptz + n * interval '1 hour'), '{}', '{EVENT}', n, \
            '2026-11-01T12:00:00Z'::timestamptz + n * interval '1 hour', 35, case when n < 5 then 500 end, \
            case when n < 5 then 'status 500' end, case when n < 5 then 'oh no' end, \
            case when n < 4 then '2026-11-01T12:00:00Z'::timestamptz + (n + 1) * interval '1 hour' end \
         from generate_series(1, 5) n; \
         insert into sms_delivery_attempts (id, subscription_id, event_id, attempt, attempted_at, duration_ms) \
         values (sms_new_id(), sms_new_id(), '{EVENT}', 9, now(), 1)",
        world.id
    );
    world.database.client.batch_execute(&attempts).await.unwrap();
    world
}

async fn page(world: &mut SubscriptionWorld, query: &str) -> Value {
    let request = get(&world.id).query(query);
    let reply = world.function.call(request.event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    body(&reply)
}

#[tokio::test]
async fn attempts_are_listed_newest_first() {
    let mut world = start().await;
    let page = page(&mut world, "").await;
    assert_eq!((&page["limit"], &page["next_cursor"]), (&json!(20), &Value::Null));
    let numbers: Vec<_> =
        page["deliveries"].as_array().unwrap().iter().map(|one| one["attempt"].clone()).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    let succeeded = json!({
        "event_id": EVENT, "attempt": 5, "at": "2026-11-01T17:00:00Z", "status_code": null, "error": null,
        "duration_ms": 35, "next_attempt_at": null, "response_body": null,
    });
    let failed = json!({
        "event_id": EVENT, "attempt": 3, "at": "2026-11-01T15:00:00Z", "status_code": 500, "error": "status 500",
        "duration_ms": 35, "next_attempt_at": "2026-11-01T16:00:00Z", "response_body": "oh no",
    });
    assert_eq!((&page["deliveries"][0], &page["deliveries"][2]), (&succeeded, &failed));
}

#[tokio::test]
async fn pages_contain_every_attempt_once() {
    let mut world = start().await;
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = page(&mut world, &query).await;
        seen.extend(
            page["deliveries"].as_array().unwrap().iter().map(|one| one["attempt"].as_i64().unwrap()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn only_its_key_and_admin_list_deliveries_and_parameters_are_checked() {
    let mut world = start().await;
    world.check_access(get).await;
    let request = get(&world.id).query("cursor=99999999999999999999&limit=101");
    let reply = refusal(&world.function.call(request.event()).await);
    let details = "cursor: is not a next_cursor of this API\n  limit: must be a whole number from 1 to 100";
    assert_eq!(reply, format!("400 sms.validation_error\n  {details}"));
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &get("01900000-0000-7000-8000-00000000000c")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<list_deliveries::Config>("list-deliveries", Duration::ZERO, environment::API);
}
