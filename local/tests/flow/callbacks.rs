//! Status callbacks that are late, duplicated, out of order, lost, early, contradictory or for unknown messages.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::{fresh_handset, fresh_sid};
use crate::stack::{Stack, eventually, shared};

fn history(message: &Value) -> Vec<(String, bool)> {
    let events = message["status_history"].as_array().unwrap().iter();
    events.map(|event| (event["status"].as_str().unwrap().to_owned(), event["contradicts"] == true)).collect()
}

fn events(statuses: &[&str]) -> Vec<(String, bool)> {
    statuses.iter().map(|status| ((*status).to_owned(), false)).collect()
}

/// Sends a message with a callback fault, and returns it when its history has the expected length.
async fn send_with(stack: &Stack, fault: Value, length: usize) -> Value {
    let handset = fresh_handset();
    stack.set_fault_for(&handset, fault).await;
    let id = stack.send(&handset, "With a callback fault").await;
    let message = stack
        .wait_for_message(&id, "has the expected status history", |message| {
            message["status_history"].as_array().unwrap().len() >= length && message["twilio_sid"].is_string()
        })
        .await;
    eventually("the handset has received the message", async || {
        (!stack.received_by(&handset).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(stack.received_by(&handset).await.len(), 1);
    stack.message(message["id"].as_str().unwrap()).await
}

fn callback_fault(mode: &str) -> Value {
    json!({ "kind": "callbacks", "mode": mode })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_callback_is_recorded_once() {
    let stack = shared().await;
    let message = send_with(&stack, callback_fault("doubled"), 2).await;
    stack.wait_for_empty_queues().await;
    let message = stack.message(message["id"].as_str().unwrap()).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (events(&["sent", "delivered"]), &"delivered".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_sent_callback_does_not_replace_delivered() {
    let stack = shared().await;
    let message = send_with(&stack, callback_fault("reordered"), 2).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (events(&["delivered", "sent"]), &"delivered".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_before_the_create_response_are_assigned_to_their_message() {
    let stack = shared().await;
    let message = send_with(&stack, callback_fault("early"), 2).await;
    let id = message["id"].as_str().unwrap();
    let message = stack
        .wait_for_message(id, "is accepted", |message| message["attempts"][0]["outcome"] == "accepted")
        .await;
    assert_eq!(message["delivery_status"], "delivered");
    assert_eq!(message["attempts"].as_array().unwrap().len(), 1);
    let mut recorded = history(&message);
    recorded.sort();
    assert_eq!(recorded, events(&["delivered", "sent"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_callbacks_are_missing_from_the_history() {
    let stack = shared().await;
    let without_sent = json!({ "kind": "callbacks", "mode": "lost", "statuses": ["sent"] });
    let message = send_with(&stack, without_sent, 1).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (events(&["delivered"]), &"delivered".into())
    );
    let message = send_with(&stack, callback_fault("lost"), 0).await;
    stack.wait_for_sweeps(2).await;
    let message = stack.message(message["id"].as_str().unwrap()).await;
    assert_eq!((history(&message), &message["delivery_status"]), (events(&[]), &"queued".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_callbacks_are_recorded() {
    let stack = shared().await;
    let late = json!({ "kind": "callbacks", "mode": "late", "delay_ms": 2000 });
    let message = send_with(&stack, late, 2).await;
    assert_eq!(
        (history(&message), &message["delivery_status"]),
        (events(&["sent", "delivered"]), &"delivered".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_and_unknown_statuses_are_recorded_without_changing_the_final_status() {
    let stack = shared().await;
    let handset = fresh_handset();
    let id = stack.send(&handset, "Read me").await;
    let sid = stack.wait_for_status(&id, "delivered").await["twilio_sid"].as_str().unwrap().to_owned();
    for (status, code) in [("failed", Some("30008")), ("partially_delivered", None), ("seen_by_a_cat", None)]
    {
        stack.deliver_webhook(&stack.status_callback(&sid, status, code)).await;
        let what = format!("has {status} in its history");
        stack
            .wait_for_message(&id, &what, |message| history(message).iter().any(|(event, _)| event == status))
            .await;
    }
    let message = stack.message(&id).await;
    assert_eq!((&message["delivery_status"], &message["error_code"]), (&"delivered".into(), &Value::Null));
    assert_eq!(history(&message)[2], ("failed".to_owned(), true));
    stack.deliver_webhook(&stack.status_callback(&sid, "read", None)).await;
    stack.wait_for_status(&id, "read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_in_any_order_lead_to_the_same_status() {
    let stack = shared().await;
    let statuses = ["sent", "delivered", "read"];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let one_by_one = orders.map(async |order| {
        let (id, sid) = without_callbacks(&stack).await;
        for (count, position) in order.into_iter().enumerate() {
            stack.deliver_webhook(&stack.status_callback(&sid, statuses[position], None)).await;
            stack
                .wait_for_message(&id, "has the callback in its history", |message| {
                    history(message).len() == count + 1
                })
                .await;
        }
        let message = stack.message(&id).await;
        assert_eq!(
            (&message["delivery_status"], history(&message)),
            (&"read".into(), events(&order.map(|n| statuses[n])))
        );
    });
    join_all(one_by_one).await;
    let at_once = (0..6).map(async |_| {
        let (id, sid) = without_callbacks(&stack).await;
        join_all(
            statuses
                .map(async |status| stack.deliver_webhook(&stack.status_callback(&sid, status, None)).await),
        )
        .await;
        let message = stack
            .wait_for_message(&id, "has all callbacks in its history", |message| history(message).len() == 3)
            .await;
        assert_eq!(message["delivery_status"], "read");
    });
    join_all(at_once).await;
    stack.wait_for_empty_queues().await;
}

/// Sends a message whose callbacks are lost. Returns its ID and SID.
async fn without_callbacks(stack: &Stack) -> (String, String) {
    let message = send_with(stack, callback_fault("lost"), 0).await;
    let text = |key: &str| message[key].as_str().unwrap().to_owned();
    (text("id"), text("twilio_sid"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_for_an_unknown_sid_is_recorded() {
    let stack = shared().await;
    let sid = fresh_sid();
    stack.deliver_webhook(&stack.status_callback(&sid, "delivered", None)).await;
    let sql = stack.sql().await;
    let recorded =
        "select count(*) from sms_message_status_events where twilio_sid = $1 and message_id is null";
    sql.wait_for_count(recorded, &[&sid], 1).await;
    stack.wait_for_empty_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undelivered_message_has_the_error_code() {
    let stack = shared().await;
    let handset = fresh_handset();
    stack.set_fault_for(&handset, json!({ "kind": "undelivered", "code": 30006 })).await;
    let id = stack.send(&handset, "To a landline").await;
    let message = stack.wait_for_status(&id, "undelivered").await;
    assert_eq!(message["error_code"], "30006");
    assert_eq!(stack.received_by(&handset).await.len(), 0);
}
