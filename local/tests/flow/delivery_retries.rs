//! Retries of messages that Twilio accepted but could not deliver temporarily.

use serde_json::json;

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack};

/// Starts a stack that retries deliveries after a second.
async fn start() -> Stack {
    Setup::fast().with("TRANSIENT_RETRY_DELAYS_SECONDS", "1,1").start().await
}

fn sids(message: &serde_json::Value) -> Vec<String> {
    let attempts = message["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["twilio_sid"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_an_unreachable_handset_is_retried_twice() {
    let stack = start().await;
    let (back_soon, never) = (fresh_handset(), fresh_handset());
    let unreachable = json!({ "kind": "undelivered", "code": 30003 });
    stack.set_fault(json!({ "match": { "to": back_soon }, "count": 1, "fault": unreachable })).await;
    stack.set_fault(json!({ "match": { "to": never }, "count": 0, "fault": unreachable })).await;
    let (back_soon_id, never_id) =
        (stack.send(&back_soon, "Reachable later").await, stack.send(&never, "Never reachable").await);

    let message = stack.wait_for_status(&back_soon_id, "delivered").await;
    let creates = sids(&message);
    assert_eq!(
        (creates.len(), message["twilio_sid"].as_str()),
        (2, Some(creates[1].as_str())),
        "{message:#}"
    );
    assert_ne!(creates[0], creates[1]);

    let message = stack.wait_for_status(&never_id, "undelivered").await;
    assert_eq!((sids(&message).len(), &message["error_code"]), (3, &json!("30003")), "{message:#}");
    let events = message["status_history"].as_array().unwrap().iter();
    assert_eq!(events.filter(|event| event["error_code"] == "30003").count(), 3);
    stack.wait_for_sweeps(3).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(sids(&stack.message(&never_id).await).len(), 3);
    assert_eq!(stack.received_by(&back_soon).await.len(), 1);
    assert_eq!(stack.received_by(&never).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_error_is_retried_once_and_a_landline_never() {
    let stack = start().await;
    let (unknown, landline) = (fresh_handset(), fresh_handset());
    for (handset, code) in [(&unknown, 30008), (&landline, 30006)] {
        let fault = json!({ "kind": "undelivered", "code": code });
        stack.set_fault(json!({ "match": { "to": handset }, "count": 0, "fault": fault })).await;
    }
    let (unknown_id, landline_id) = (stack.send(&unknown, "Hm").await, stack.send(&landline, "Hm").await);
    assert_eq!(sids(&stack.wait_for_status(&unknown_id, "undelivered").await).len(), 2);
    assert_eq!(sids(&stack.wait_for_status(&landline_id, "undelivered").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_delivered_callback_cancels_the_retry() {
    let stack = Setup::fast().with("TRANSIENT_RETRY_DELAYS_SECONDS", "3600").start().await;
    let handset = fresh_handset();
    stack.set_fault_for(&handset, json!({ "kind": "sent_only" })).await;
    let id = stack.send(&handset, "Delivered late").await;
    let sid = stack.wait_for_status(&id, "sent").await["twilio_sid"].as_str().unwrap().to_owned();
    stack.deliver_webhook(&stack.status_callback(&sid, "undelivered", Some("30003"))).await;
    let waiting = stack.wait_for_status(&id, "pending").await;
    assert_eq!((&waiting["twilio_sid"], sids(&waiting)), (&json!(sid), vec![sid.clone()]));
    assert!(waiting["next_attempt_at"].is_string(), "{waiting:#}");
    stack.deliver_webhook(&stack.status_callback(&sid, "delivered", None)).await;
    let message = stack.wait_for_status(&id, "delivered").await;
    assert_eq!(message["twilio_sid"], sid);
    stack.wait_for_sweeps(2).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&handset).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cancels_the_retry() {
    let stack = Setup::fast().with("TRANSIENT_RETRY_DELAYS_SECONDS", "3600").start().await;
    let handset = fresh_handset();
    stack.set_fault_for(&handset, json!({ "kind": "undelivered", "code": 30003 })).await;
    let id = stack.send(&handset, "Please pay").await;
    stack.wait_for_message(&id, "waits for its retry", |message| message["error_code"] == "30003").await;
    stack.send_from_handset(&handset, "STOP").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;
    stack.make_due(&id).await;
    assert_eq!(stack.wait_for_status(&id, "failed").await["error_code"], "opted_out");
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&handset).await.len(), 0);
}
