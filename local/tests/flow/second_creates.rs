//! What Twilio took and could not deliver for the moment is created anew: twice at most, and not once it has arrived.

use serde_json::json;

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack};

/// A stack that creates anew after a second.
async fn start() -> Stack {
    Setup::impatient().with("TRANSIENT_RETRY_DELAYS_SECONDS", "1,1").start().await
}

fn sids(message: &serde_json::Value) -> Vec<String> {
    let attempts = message["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["twilio_sid"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_handset_is_tried_twice_more_and_every_create_is_an_attempt_of_its_own() {
    let stack = start().await;
    let (back_soon, never) = (fresh_handset(), fresh_handset());
    let unreachable = json!({ "kind": "undelivered", "code": 30003 });
    stack.arm(json!({ "match": { "to": back_soon }, "count": 1, "fault": unreachable })).await;
    stack.arm(json!({ "match": { "to": never }, "count": 0, "fault": unreachable })).await;
    let (back_soon_id, never_id) =
        (stack.send(&back_soon, "Are you there?").await, stack.send(&never, "Are you there?").await);

    let message = stack.reaches(&back_soon_id, "delivered").await;
    let creates = sids(&message);
    assert_eq!(
        (creates.len(), message["twilio_sid"].as_str()),
        (2, Some(creates[1].as_str())),
        "{message:#}"
    );
    assert_ne!(creates[0], creates[1]);

    let message = stack.reaches(&never_id, "undelivered").await;
    assert_eq!((sids(&message).len(), &message["error_code"]), (3, &json!("30003")), "{message:#}");
    let told = message["status_history"].as_array().unwrap().iter();
    assert_eq!(told.filter(|told| told["error_code"] == "30003").count(), 3);
    stack.sweeps(3).await;
    stack.queues_are_empty().await;
    assert_eq!(sids(&stack.message(&never_id).await).len(), 3);
    assert_eq!(stack.ledger(&back_soon).await.len(), 1);
    assert_eq!(stack.ledger(&never).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_error_is_worth_one_more_create_and_a_landline_none() {
    let stack = start().await;
    let (unknown, landline) = (fresh_handset(), fresh_handset());
    for (handset, code) in [(&unknown, 30008), (&landline, 30006)] {
        let fault = json!({ "kind": "undelivered", "code": code });
        stack.arm(json!({ "match": { "to": handset }, "count": 0, "fault": fault })).await;
    }
    let (unknown_id, landline_id) = (stack.send(&unknown, "Hm").await, stack.send(&landline, "Hm").await);
    assert_eq!(sids(&stack.reaches(&unknown_id, "undelivered").await).len(), 2);
    assert_eq!(sids(&stack.reaches(&landline_id, "undelivered").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_word_that_the_first_create_arrived_keeps_the_second_from_being_made() {
    let stack = Setup::impatient().with("TRANSIENT_RETRY_DELAYS_SECONDS", "3600").start().await;
    let handset = fresh_handset();
    stack.arm_for(&handset, json!({ "kind": "sent_only" })).await;
    let id = stack.send(&handset, "Arrived after all").await;
    let sid = stack.reaches(&id, "sent").await["twilio_sid"].as_str().unwrap().to_owned();
    stack.accepts(&stack.callback(&sid, "undelivered", Some("30003"))).await;
    let waiting = stack.reaches(&id, "pending").await;
    assert_eq!((&waiting["twilio_sid"], sids(&waiting)), (&json!(sid), vec![sid.clone()]));
    assert!(waiting["next_attempt_at"].is_string(), "{waiting:#}");
    stack.accepts(&stack.callback(&sid, "delivered", None)).await;
    let message = stack.reaches(&id, "delivered").await;
    assert_eq!(message["twilio_sid"], sid);
    stack.sweeps(2).await;
    stack.queues_are_empty().await;
    assert_eq!(stack.ledger(&handset).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_between_two_creates_ends_them() {
    let stack = Setup::impatient().with("TRANSIENT_RETRY_DELAYS_SECONDS", "3600").start().await;
    let handset = fresh_handset();
    stack.arm_for(&handset, json!({ "kind": "undelivered", "code": 30003 })).await;
    let id = stack.send(&handset, "Please pay").await;
    stack.becomes(&id, "waiting", |message| message["error_code"] == "30003").await;
    stack.text(&handset, "STOP").await;
    stack.conversation_where(&handset, |page| page["opted_out"] == true).await;
    stack.comes_due(&id).await;
    assert_eq!(stack.reaches(&id, "failed").await["error_code"], "opted_out");
    stack.queues_are_empty().await;
    assert_eq!(stack.ledger(&handset).await.len(), 0);
}
