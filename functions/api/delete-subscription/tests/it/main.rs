//! Tests of the binary through the Runtime API.

use std::time::Duration;
use testing::{ApiRequest, OTHER_KEY_ID, SubscriptionWorld, check_outage, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_delete-subscription");

fn delete(id: &str) -> ApiRequest {
    let request = ApiRequest::new("DELETE", &format!("/subscriptions/{id}")).path_parameter("id", id);
    request.scopes("subscriptions:manage")
}

/// The subscriptions, streams and undelivered events.
async fn left(world: &SubscriptionWorld) -> String {
    let left = "select concat_ws(' ', (select count(*) from sms_subscriptions), \
        (select count(*) from sms_delivery_streams), (select count(*) from sms_deliveries))";
    world.database.scalar(left).await
}

#[tokio::test]
async fn a_subscription_is_deleted_with_its_streams_and_undelivered_events() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let undelivered = "insert into sms_delivery_streams (subscription_id, kind, position, target) \
            select id, 'replay', 0, 1 from sms_subscriptions; \
        insert into sms_deliveries (subscription_id, kind, position, event_id, next_attempt_at) \
            select subscription_id, kind, 1, sms_new_id(), now() from sms_delivery_streams";
    world.database.client.batch_execute(undelivered).await.unwrap();
    assert_eq!(left(&world).await, "1 2 2");
    for (request, response) in [
        (delete(&world.id).key(OTHER_KEY_ID), "404 sms.not_found"),
        (delete(&world.id).scopes("events:read"), "403 sms.forbidden"),
        (delete("x"), "400 sms.validation_error\n  id: is not a UUID"),
    ] {
        assert_eq!(refusal(&world.function.call(request.event()).await), response);
    }
    assert_eq!(left(&world).await, "1 2 2");
    let reply = world.function.call(delete(&world.id).event()).await;
    assert_eq!((reply["statusCode"].as_u64(), reply["body"].as_str()), (Some(204), Some("")));
    assert_eq!(left(&world).await, "0 0 0");
    let reply = world.function.call(delete(&world.id).event()).await;
    assert_eq!(refusal(&reply), "404 sms.not_found");
}

#[tokio::test]
async fn admin_deletes_a_subscription_of_any_key() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let request = delete(&world.id).key(OTHER_KEY_ID).scopes("admin");
    assert_eq!(world.function.call(request.event()).await["statusCode"], 204);
    assert_eq!(left(&world).await, "0 0 0");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &delete("01900000-0000-7000-8000-00000000000c")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<delete_subscription::Config>(
        "delete-subscription",
        Duration::ZERO,
        environment::API,
    );
}
