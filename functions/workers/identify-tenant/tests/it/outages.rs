//! A Monitor that is down, slow or sends invalid responses.

use crate::world::{World, succeeds};
use crate::{A, B};
use serde_json::{Value, json};
use std::time::Duration;
use testing::{batch, failed};
use wiremock::ResponseTemplate;

/// A delay that exceeds every timeout.
const NEVER: Duration = Duration::from_secs(600);

fn number(n: usize) -> String {
    format!("+1202555{:04}", 1000 + n)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_monitor_request_is_retried_immediately() {
    let world = World::start().await;
    world.respond_with(A, ResponseTemplate::new(503), Some(1)).await;
    world
        .respond_with(A, ResponseTemplate::new(200).set_body_string("<html>soon back</html>"), Some(1))
        .await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[world.text(A, "en", 0.95).await]).await;
    assert_eq!(world.is(A).await, "T-1");
    assert_eq!(world.lookups().await, [A, A, A]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_monitor_response_identifies_no_tenant_and_its_record_is_retried() {
    let wrong = [
        ResponseTemplate::new(500),
        ResponseTemplate::new(401),
        ResponseTemplate::new(302).insert_header("location", "/tenants/elsewhere"),
        ResponseTemplate::new(200).set_body_string("<html>Sign in</html>"),
        ResponseTemplate::new(200).set_body_json(json!({"error": "no"})),
        ResponseTemplate::new(200)
            .set_body_json(json!({"tenant_id": "T-1", "padding": "x".repeat(10 << 20)})),
        ResponseTemplate::new(200).set_body_json(json!({"tenant_id": "T-1"})).set_delay(NEVER),
    ];
    for response in wrong {
        let world = World::start().await;
        world.respond_with(A, response, None).await;
        let mut hasty =
            world.function_with(&[("MONITOR_TIMEOUT_MS", "200"), ("MONITOR_BUDGET_MS", "210")]).await;
        let message = world.text(A, "en", 0.95).await;
        let response = hasty.call(batch(std::slice::from_ref(&message))).await;
        assert_eq!(failed(&response), ["m-0"], "{:#?}", hasty.log().await);
        assert_eq!(world.is(A).await, "none");
        world.monitor.reset().await;
        world.add_match(A, json!({"tenant_id": "T-1"})).await;
        succeeds(&mut world.function().await, &[message]).await;
        assert_eq!(world.is(A).await, "T-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_content_and_an_empty_response_are_no_match() {
    for response in [ResponseTemplate::new(204), ResponseTemplate::new(200), ResponseTemplate::new(404)] {
        let world = World::start().await;
        for spelling in [A, "2025550123", "12025550123"] {
            world.respond_with(spelling, response.clone(), None).await;
        }
        let mut function = world.function().await;
        succeeds(&mut function, &[world.text(A, "en", 0.95).await]).await;
        assert_eq!(world.is(A).await, "none");
        assert_eq!(
            world
                .database
                .scalar("select tenant_vain_checks || ' ' || tenant_failed_checks from sms_conversations")
                .await,
            "1 0"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_monitor_gets_the_numbers_of_one_batch_and_the_rest_are_left_to_the_schedule() {
    let world = World::start().await;
    let mut function = world.function_with(&[("MONITOR_TIMEOUT_MS", "1000")]).await;
    for n in 0..30 {
        let response = ResponseTemplate::new(200).set_delay(NEVER);
        world.respond_with(&number(n), response, None).await;
    }
    for first in [0, 10, 20] {
        let mut messages: Vec<Value> = Vec::new();
        for n in first..first + 10 {
            messages.push(world.text(&number(n), "en", 0.95).await);
        }
        succeeds(&mut function, &messages).await;
    }
    let failed = function.metric("tenant_lookups_failed").await;
    assert_eq!(function.metric_of("errors", "monitor_failed").await, failed);
    // On a busy machine, up to four retries come before the fifth failure, which opens the breaker.
    let lookups = world.lookups().await;
    assert!((1..=14).contains(&lookups.len()), "{lookups:?}");
    let first_batch: Vec<String> = (0..10).map(number).collect();
    assert!(lookups.iter().all(|looked_up| first_batch.contains(looked_up)), "{lookups:?}");
    let waiting =
        "select count(*) from sms_conversations where tenant_next_check_at <= now() + interval '61 seconds'";
    assert_eq!(world.database.scalar(waiting).await, "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_detects_that_the_monitor_is_available_again() {
    let world = World::start().await;
    let mut patient = world.function_with(&[("MONITOR_BREAKER_SECONDS", "3600")]).await;
    let mut function = world.function_with(&[("MONITOR_BREAKER_SECONDS", "1")]).await;
    world.respond_with(A, ResponseTemplate::new(500), None).await;
    world.respond_with(B, ResponseTemplate::new(500), None).await;
    let message = world.text(A, "en", 0.95).await;
    let both = [message.clone(), world.text(B, "en", 0.95).await];
    succeeds(&mut patient, &both).await;
    let asked = world.lookups().await.len();
    world.time_passes().await;
    succeeds(&mut patient, std::slice::from_ref(&message)).await;
    assert_eq!(world.lookups().await.len(), asked, "the circuit breaker is open");
    world.time_passes().await;
    succeeds(&mut function, &both).await;
    world.monitor.reset().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    testing::eventually("the tenant is known", async || {
        world.time_passes().await;
        succeeds(&mut function, std::slice::from_ref(&message)).await;
        (world.is(A).await == "T-1").then_some(())
    })
    .await;
}
