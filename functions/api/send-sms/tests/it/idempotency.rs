//! Idempotency keys: repeated, concurrent, with another payload, with another API key.

use super::{BINARY, TENANT, World, environment, sms};
use serde_json::{Value, json};
use testing::{Function, body, eventually, refusal};

fn keyed(payload: &Value, key: &str) -> Value {
    sms(payload).header("idempotency-key", key).event()
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_response_whatever_has_happened_since() {
    let mut world = World::start().await;
    let payload = json!({"to": "(203) 555-0123", "body": "x", "metadata": {"a": 1, "b": 2}});
    let first = body(&world.function.call(keyed(&payload, "k")).await);
    let since = "update sms_messages set delivery_status = 'delivered', twilio_sid = 'SM1'; \
        update sms_conversations set opted_out_at = now()";
    world.database.client.batch_execute(since).await.unwrap();
    let again = r#"{ "metadata": {"b": 2, "a": 1}, "body": "x", "to": "(203) 555-0123" }"#;
    let again = sms(&json!({})).body(again).header("idempotency-key", "k");
    for _ in 0..2 {
        let reply = world.function.call(again.event()).await;
        assert_eq!((&reply["statusCode"], body(&reply)), (&json!(202), first.clone()));
    }
    assert_eq!(world.rows("sms_messages").await, "1");
    assert_eq!(world.sqs.sent().len(), 1);
}

#[tokio::test]
async fn the_same_key_with_another_payload_is_a_conflict() {
    let mut world = World::start().await;
    world.function.call(keyed(&json!({"to": TENANT, "body": "x"}), "k")).await;
    for other in
        [json!({"to": TENANT, "body": "y"}), json!({"to": TENANT, "body": "x", "priority": "urgent"})]
    {
        let reply = world.function.call(keyed(&other, "k")).await;
        assert_eq!(refusal(&reply), "409 sms.idempotency_conflict");
    }
    assert_eq!(world.rows("sms_messages").await, "1");
}

#[tokio::test]
async fn different_metadata_numbers_are_a_conflict_and_the_first_is_stored_unchanged() {
    let mut world = World::start().await;
    for (key, first, second) in [
        ("a", "123456789012345678901234567890", "123456789012345678901234567891"),
        ("b", "18446744073709551616", "18446744073709551617"),
        ("c", "0.1", "0.1000000000000000055511151231257827"),
        ("d", "1250.00", "1250.001"),
    ] {
        let request = |number: &str| {
            let text = format!(r#"{{"to": "{TENANT}", "body": "x", "metadata": {{"n": {number}}}}}"#);
            sms(&json!({})).body(&text).header("idempotency-key", key).event()
        };
        let response = body(&world.function.call(request(first)).await);
        assert_eq!(refusal(&world.function.call(request(second)).await), "409 sms.idempotency_conflict");
        assert_eq!(body(&world.function.call(request(first)).await), response);
        let kept = format!(
            "select metadata->>'n' from sms_messages where id = {}",
            response["id"].to_string().replace('"', "'")
        );
        assert_eq!(world.database.scalar(&kept).await, first);
    }
}

#[tokio::test]
async fn api_keys_do_not_share_idempotency_keys() {
    let mut world = World::start().await;
    let request = sms(&json!({"to": TENANT, "body": "x"})).header("idempotency-key", "k");
    let first = body(&world.function.call(request.event()).await);
    let other = request.key("01900000-0000-7000-8000-000000000002");
    let second = body(&world.function.call(other.event()).await);
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn an_idempotency_key_expires_after_a_day() {
    let mut world = World::start().await;
    let first = body(&world.function.call(keyed(&json!({"to": TENANT, "body": "x"}), "k")).await);
    let age = "update idempotency_keys set created_at = created_at - interval '24 hours 1 second'";
    world.database.client.batch_execute(age).await.unwrap();
    let second = body(&world.function.call(keyed(&json!({"to": TENANT, "body": "y"}), "k")).await);
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn a_repeated_request_that_has_become_invalid_gets_the_first_response() {
    let mut world = World::start().await;
    let (payload, first) = accepted_with_near_send_at(&mut world).await;
    let reply = eventually("send_at has passed", async || {
        let reply = world.send(payload.clone()).await;
        (reply["statusCode"] == 400).then_some(reply)
    })
    .await;
    assert_eq!(refusal(&reply), "400 sms.validation_error\n  send_at: has passed");
    assert_eq!(body(&world.function.call(keyed(&payload, "k")).await), first);
    // A request with a type error never counts as the first request's payload.
    let mut mistyped = payload;
    mistyped["priority"] = json!(1);
    assert_eq!(world.function.call(keyed(&mistyped, "k")).await["statusCode"], 400);
}

/// Sends a message with the key `k` whose `send_at` is soon, and returns payload and response.
async fn accepted_with_near_send_at(world: &mut World) -> (Value, Value) {
    // On a slow machine the shorter times may have passed before the function runs.
    for seconds in [1, 4, 16, 64] {
        let soon = common::clock::now() + std::time::Duration::from_secs(seconds);
        let payload = json!({"to": TENANT, "body": "x", "send_at": soon.to_string()});
        let reply = world.function.call(keyed(&payload, "k")).await;
        if reply["statusCode"] == 202 {
            return (payload, body(&reply));
        }
        assert_eq!(refusal(&reply), "400 sms.validation_error\n  send_at: has passed");
    }
    panic!("send_at passed before the function ran");
}

#[tokio::test]
async fn concurrent_requests_with_one_key_create_one_message() {
    let world = World::start().await;
    let variables = environment(&world.sqs, &world.database.url());
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut function = Function::start(BINARY, &variables).await;
        runs.spawn(async move { function.call(keyed(&json!({"to": TENANT, "body": "x"}), "k")).await });
    }
    let responses: Vec<Value> = runs.join_all().await.iter().map(body).collect();
    assert!(
        responses.iter().all(|response| *response == responses[0] && response["status"] == "pending"),
        "{responses:?}"
    );
    assert_eq!(world.rows("sms_messages").await, "1");
    assert_eq!(world.sqs.sent().len(), 1);
}
