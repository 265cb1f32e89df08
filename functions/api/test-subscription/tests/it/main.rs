//! Tests of the binary through the Runtime API.

use common::db::subscriptions;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::time::Duration;
use testing::{ApiRequest, Sqs, SubscriptionWorld, body, check_outage, environment, new_subscription};

const BINARY: &str = env!("CARGO_BIN_EXE_test-subscription");

/// The subscriber, and up to four statements.
const SENDING: &[environment::Wait] =
    &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 4), ("EVENTS_ATTEMPT_TIMEOUT_MS", 1)];

fn post(id: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/subscriptions/{id}/test")).path_parameter("id", id)
}

async fn test(world: &mut SubscriptionWorld) -> Value {
    let reply = world.function.call(post(&world.id).event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    body(&reply)
}

#[tokio::test]
async fn a_signed_event_is_sent_and_the_result_returned() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    world.receiver.reply(202, &[], "thanks");
    let mut result = test(&mut world).await;
    let request = world.receiver.received().remove(0);
    let webhook = Webhook::new(world.subscription.secret.expose()).unwrap();
    webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
    let sent = request.json();
    assert_eq!(
        (&sent["type"], &sent["data"]["subscription_id"]),
        (&json!("subscription.test"), &json!(world.id))
    );
    assert_eq!(
        (&sent["id"], request.header("webhook-id")),
        (&result["event_id"], sent["id"].as_str().unwrap())
    );
    assert_eq!(sent["timestamp"], result["at"]);
    for changing in ["event_id", "at", "duration_ms"] {
        result.as_object_mut().unwrap().remove(changing).unwrap();
    }
    let expected = json!({
        "is_delivered": true, "attempt": 1, "status_code": 202, "error": null, "next_attempt_at": null,
        "response_body": "thanks",
    });
    assert_eq!(result, expected);
}

#[tokio::test]
async fn a_failure_is_a_result_too() {
    let mut world = SubscriptionWorld::start(BINARY, &[("EVENTS_ATTEMPT_TIMEOUT_MS", "300")]).await;
    world.receiver.reply(500, &[], "oh no");
    let result = test(&mut world).await;
    assert_eq!((&result["is_delivered"], &result["status_code"]), (&json!(false), &json!(500)));
    assert_eq!((&result["error"], &result["response_body"]), (&json!("status 500"), &json!("oh no")));
    world.receiver.hang();
    let result = test(&mut world).await;
    assert_eq!(
        (&result["status_code"], &result["error"]),
        (&Value::Null, &json!("no response within 300 ms"))
    );
    assert!(result["duration_ms"].as_i64().unwrap() >= 300);
}

#[tokio::test]
async fn a_disabled_subscription_is_tested_with_both_secrets_of_a_rotation() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    let rotation = "update sms_subscriptions set status = 'disabled', disabled_reason = 'failing', \
        previous_secret = 'whsec_b2xkIHNlY3JldA==', previous_until = now() + interval '1 hour'";
    world.database.client.batch_execute(rotation).await.unwrap();
    assert_eq!(test(&mut world).await["is_delivered"], true);
    let request = world.receiver.received().remove(0);
    for secret in [world.subscription.secret.expose(), "whsec_b2xkIHNlY3JldA=="] {
        let webhook = Webhook::new(secret).unwrap();
        webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
    }
    assert_eq!(world.database.scalar("select status from sms_subscriptions").await, "disabled");
    let expired = "update sms_subscriptions set previous_until = now()";
    world.database.client.batch_execute(expired).await.unwrap();
    test(&mut world).await;
    assert!(!world.receiver.received()[1].header("webhook-signature").contains(' '));
}

#[tokio::test]
async fn a_queue_gets_the_body_with_the_headers_as_attributes() {
    let sqs = Sqs::start().await;
    let variables =
        [("AWS_ENDPOINT_URL_SQS", sqs.url()), ("SUBSCRIBER_QUEUE_ARNS", "arn:aws:sqs:*:000000000000:*")];
    let mut world = SubscriptionWorld::start(BINARY, &variables).await;
    for (name, is_fifo) in [("events", false), ("events.fifo", true)] {
        let arn = format!("arn:aws:sqs:eu-west-1:000000000000:{name}");
        let subscription =
            subscriptions::NewSubscription { url: None, queue_arn: Some(arn), ..new_subscription("") };
        subscriptions::create(&world.database.db(), &subscription).await.unwrap();
        world.id = subscription.id.to_string();
        let result = test(&mut world).await;
        assert_eq!((&result["is_delivered"], &result["error"]), (&json!(true), &Value::Null));

        let request = sqs.requests().pop().unwrap();
        assert_eq!(request["QueueUrl"], sqs.queue(name));
        let sent = request["MessageBody"].as_str().unwrap();
        let attribute = |name: &str| {
            assert_eq!(request["MessageAttributes"][name]["DataType"], "String");
            request["MessageAttributes"][name]["StringValue"].as_str().unwrap().parse().unwrap()
        };
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (http::HeaderName::from_static(name), attribute(name)));
        let webhook = Webhook::new(subscription.secret.expose()).unwrap();
        webhook.verify(sent.as_bytes(), &headers.into_iter().collect()).unwrap();
        let id = if is_fifo { result["event_id"].clone() } else { Value::Null };
        assert_eq!((&request["MessageDeduplicationId"], &request["MessageGroupId"]), (&id, &id));
    }
    sqs.refuse_queue("events.fifo");
    let result = test(&mut world).await;
    assert_eq!((&result["is_delivered"], &result["status_code"]), (&json!(false), &json!(500)));
}

#[tokio::test]
async fn only_its_key_and_admin_test_a_subscription() {
    let mut world = SubscriptionWorld::start(BINARY, &[]).await;
    world.check_access(post).await;
    assert_eq!(world.receiver.received().len(), 2);
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &post("01900000-0000-7000-8000-00000000000c")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<test_subscription::Config>("test-subscription", Duration::ZERO, SENDING);
}
