//! A text comes in, is read through the API and answered; the answer reaches the handset, and its ticks come back.

use serde_json::Value;

use crate::client::{fresh_handset, fresh_sid};
use crate::stack::{Setup, Stack, eventually, shared};

/// The values of `key` in a list, in its order.
fn column<'v>(list: &'v Value, key: &str) -> Vec<&'v str> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap_or("null")).collect()
}

/// The walk of a message and its answer, on whichever queues and database the stack has.
pub async fn walk(stack: &Stack) {
    let handset = fresh_handset();
    let texted = stack.text(&handset, "The heating is off since this morning").await;
    let conversation = stack.conversation_where(&handset, |_| true).await;
    assert_eq!(conversation["phone_number_canonical"], handset.as_str());
    assert_eq!((&conversation["total"], &conversation["opted_out"]), (&1.into(), &false.into()));
    let message = &conversation["messages"][0];
    assert_eq!(message["twilio_sid"], texted["message_sid"]);
    assert_eq!((&message["direction"], &message["delivery_status"]), (&"inbound".into(), &"received".into()));
    assert_eq!(message["message_content"], "The heating is off since this morning");

    let id = stack.send(&handset, "We are on our way").await;
    let sent = stack.reaches(&id, "delivered").await;
    assert_eq!(column(&sent["status_history"], "status"), ["sent", "delivered"]);
    assert_eq!(column(&sent["attempts"], "outcome"), ["accepted"]);
    assert_eq!(sent["conversation_id"], conversation["conversation_id"]);

    let received = stack.ledger(&handset).await;
    assert_eq!(received.len(), 1, "{received:#?}");
    assert_eq!(
        (&received[0]["body"], &received[0]["message_sid"], &received[0]["from"]),
        (&"We are on our way".into(), &sent["twilio_sid"], &stack.info.phone_number.as_str().into())
    );
    let conversation = stack.conversation_where(&handset, |page| page["total"] == 2).await;
    assert_eq!(column(&conversation["messages"], "direction"), ["outbound", "inbound"], "newest first");
    stack.queues_are_empty().await;
}

impl Stack {
    /// Waits until a function's log has this message under this request.
    async fn logs(&self, function: &str, message: &str, request_id: &str) {
        eventually(&format!("{function} logs {message:?}"), async || {
            let lines = self.log(function);
            lines
                .iter()
                .any(|line| line["message"] == message && line["request_id"] == request_id)
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_stored_and_answered_and_the_answer_arrives_once_with_its_ticks() {
    walk(&Setup::as_deployed().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhooks_request_id_is_found_in_its_row_and_in_the_logs_of_both_functions() {
    let stack = shared().await;
    let (handset, sid, request_id) = (fresh_handset(), fresh_sid(), fresh_sid());
    let webhook = stack.incoming(&handset, &sid, "Hello").header("x-request-id", &request_id);
    let answer = stack.post(&webhook).await;
    assert_eq!((answer.status, answer.request_id.as_deref()), (200, Some(request_id.as_str())));
    let sql = stack.sql().await;
    let count = "select count(*) from sms_messages where twilio_sid = $1 and request_id = $2";
    sql.reaches(count, &[&sid, &request_id], 1).await;
    for (function, message) in [("inbound-sms", "answered"), ("record-inbound", "stored an inbound message")]
    {
        stack.logs(function, message, &request_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sends_request_id_is_the_same_in_the_answer_the_row_and_the_log_of_the_sending_function() {
    let stack = shared().await;
    let (handset, request_id) = (fresh_handset(), fresh_sid());
    let body = serde_json::json!({ "to": handset, "body": "The plumber comes at nine" });
    let key = fresh_sid();
    let call = || stack.call("POST", "/sms/send").header("idempotency-key", &key).json(&body);
    let answer = stack.answer_to(|| call().header("x-request-id", &request_id)).await;
    assert_eq!((answer.status, answer.request_id.as_deref()), (202, Some(request_id.as_str())));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    stack.reaches(&id, "delivered").await;
    let row = stack.sql().await;
    let row = row.row("select request_id from sms_messages where id::text = $1", &[&id]).await;
    assert_eq!(row.get::<_, &str>(0), request_id);
    for (function, message) in [("send-sms", "answered"), ("send-outbound", "Twilio took the message")] {
        stack.logs(function, message, &request_id).await;
    }
    assert_eq!(stack.ledger(&handset).await.len(), 1);
    for function in
        ["inbound-sms", "record-inbound", "send-sms", "send-outbound", "delivery-status", "record-status"]
    {
        let log = format!("{:?}", stack.log(function));
        assert!(!log.contains(&handset), "{function} logs a whole number");
        assert!(!log.contains("plumber"), "{function} logs a body");
    }
    stack.queues_are_empty().await;
}
