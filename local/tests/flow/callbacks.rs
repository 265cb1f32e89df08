//! Status callbacks late, twice, out of order, lost, too early, contradictory, unknown, or about nobody's message.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::{fresh_handset, fresh_sid};
use crate::stack::{Stack, eventually, shared};

fn history(message: &Value) -> Vec<(String, bool)> {
    let events = message["status_history"].as_array().unwrap().iter();
    events.map(|event| (event["status"].as_str().unwrap().to_owned(), event["contradicts"] == true)).collect()
}

fn says(statuses: &[&str]) -> Vec<(String, bool)> {
    statuses.iter().map(|status| ((*status).to_owned(), false)).collect()
}

/// Sends a message whose callbacks misbehave, and returns it once its history is as long as expected.
async fn send_with(stack: &Stack, fault: Value, events: usize) -> Value {
    let handset = fresh_handset();
    stack.arm_for(&handset, fault).await;
    let id = stack.send(&handset, "How it is told").await;
    let message = stack
        .becomes(&id, "told as often as expected", |message| {
            message["status_history"].as_array().unwrap().len() >= events && message["twilio_sid"].is_string()
        })
        .await;
    eventually("the handset has it", async || (!stack.ledger(&handset).await.is_empty()).then_some(())).await;
    assert_eq!(stack.ledger(&handset).await.len(), 1);
    stack.message(message["id"].as_str().unwrap()).await
}

fn misbehaving(mode: &str) -> Value {
    json!({ "kind": "callbacks", "mode": mode })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_twice_is_in_the_history_once() {
    let stack = shared().await;
    let message = send_with(&stack, misbehaving("doubled"), 2).await;
    stack.queues_are_empty().await;
    let message = stack.message(message["id"].as_str().unwrap()).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (says(&["sent", "delivered"]), &"delivered".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_sent_does_not_replace_delivered() {
    let stack = shared().await;
    let message = send_with(&stack, misbehaving("reordered"), 2).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (says(&["delivered", "sent"]), &"delivered".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_before_the_creates_answer_are_joined_to_their_message() {
    let stack = shared().await;
    let message = send_with(&stack, misbehaving("early"), 2).await;
    let id = message["id"].as_str().unwrap();
    let message =
        stack.becomes(id, "settled", |message| message["attempts"][0]["outcome"] == "accepted").await;
    assert_eq!(message["delivery_status"], "delivered");
    assert_eq!(message["attempts"].as_array().unwrap().len(), 1);
    let mut told = history(&message);
    told.sort();
    assert_eq!(told, says(&["delivered", "sent"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_callback_leaves_a_gap_and_all_lost_leave_what_twilio_answered() {
    let stack = shared().await;
    let without_sent = json!({ "kind": "callbacks", "mode": "lost", "statuses": ["sent"] });
    let message = send_with(&stack, without_sent, 1).await;
    assert_eq!((history(&message), &message["delivery_status"]), (says(&["delivered"]), &"delivered".into()));
    let message = send_with(&stack, misbehaving("lost"), 0).await;
    stack.sweeps(2).await;
    let message = stack.message(message["id"].as_str().unwrap()).await;
    assert_eq!((history(&message), &message["delivery_status"]), (says(&[]), &"queued".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_callbacks_are_taken_whenever_they_come() {
    let stack = shared().await;
    let late = json!({ "kind": "callbacks", "mode": "late", "delay_ms": 2000 });
    let message = send_with(&stack, late, 2).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (says(&["sent", "delivered"]), &"delivered".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_a_final_status_or_is_unknown_is_kept_and_changes_nothing() {
    let stack = shared().await;
    let handset = fresh_handset();
    let id = stack.send(&handset, "Read me").await;
    let sid = stack.reaches(&id, "delivered").await["twilio_sid"].as_str().unwrap().to_owned();
    for (status, code) in [("failed", Some("30008")), ("partially_delivered", None), ("seen_by_a_cat", None)]
    {
        stack.accepts(&stack.callback(&sid, status, code)).await;
        stack.becomes(&id, status, |message| history(message).iter().any(|(event, _)| event == status)).await;
    }
    let message = stack.message(&id).await;
    assert_eq!((&message["delivery_status"], &message["error_code"]), (&"delivered".into(), &Value::Null));
    assert_eq!(history(&message)[2], ("failed".to_owned(), true));
    stack.accepts(&stack.callback(&sid, "read", None)).await;
    stack.reaches(&id, "read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_in_every_order_and_all_at_once_end_alike() {
    let stack = shared().await;
    let statuses = ["sent", "delivered", "read"];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let one_by_one = orders.map(async |order| {
        let (id, sid) = untold(&stack).await;
        for (told, position) in order.into_iter().enumerate() {
            stack.accepts(&stack.callback(&sid, statuses[position], None)).await;
            stack.becomes(&id, "told", |message| history(message).len() == told + 1).await;
        }
        let message = stack.message(&id).await;
        assert_eq!(
            (&message["delivery_status"], history(&message)),
            (&"read".into(), says(&order.map(|n| statuses[n])))
        );
    });
    join_all(one_by_one).await;
    let at_once = (0..6).map(async |_| {
        let (id, sid) = untold(&stack).await;
        join_all(statuses.map(async |status| stack.accepts(&stack.callback(&sid, status, None)).await)).await;
        let message = stack.becomes(&id, "told", |message| history(message).len() == 3).await;
        assert_eq!(message["delivery_status"], "read");
    });
    join_all(at_once).await;
    stack.queues_are_empty().await;
}

/// A message that Twilio took and never speaks of by itself: its id and its SID.
async fn untold(stack: &Stack) -> (String, String) {
    let message = send_with(stack, misbehaving("lost"), 0).await;
    let text = |key: &str| message[key].as_str().unwrap().to_owned();
    (text("id"), text("twilio_sid"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_about_an_unknown_sid_is_kept() {
    let stack = shared().await;
    let sid = fresh_sid();
    stack.accepts(&stack.callback(&sid, "delivered", None)).await;
    let sql = stack.sql().await;
    let kept = "select count(*) from sms_message_status_events where twilio_sid = $1 and message_id is null";
    sql.reaches(kept, &[&sid], 1).await;
    stack.queues_are_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undelivered_message_keeps_its_error_code() {
    let stack = shared().await;
    let handset = fresh_handset();
    stack.arm_for(&handset, json!({ "kind": "undelivered", "code": 30006 })).await;
    let id = stack.send(&handset, "To a landline").await;
    let message = stack.reaches(&id, "undelivered").await;
    assert_eq!(message["error_code"], "30006");
    assert_eq!(stack.ledger(&handset).await.len(), 0);
}
