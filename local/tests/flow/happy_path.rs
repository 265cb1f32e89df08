//! An inbound message, a reply through the API, its delivery and its status callbacks.

use serde_json::Value;

use crate::client::{fresh_handset, fresh_sid};
use crate::stack::{Setup, Stack, eventually, shared};

/// Returns the values of `key` in a list of objects.
fn column<'v>(list: &'v Value, key: &str) -> Vec<&'v str> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap_or("null")).collect()
}

/// Checks the flow of an inbound message and a reply.
pub async fn check_message_flow(stack: &Stack) {
    let handset = fresh_handset();
    let sent = stack.send_from_handset(&handset, "The heating is off since this morning").await;
    let conversation = stack.wait_for_conversation(&handset, |_| true).await;
    assert_eq!(conversation["phone_number_canonical"], handset.as_str());
    assert_eq!((&conversation["total"], &conversation["opted_out"]), (&1.into(), &false.into()));
    let message = &conversation["messages"][0];
    assert_eq!(message["twilio_sid"], sent["message_sid"]);
    assert_eq!((&message["direction"], &message["delivery_status"]), (&"inbound".into(), &"received".into()));
    assert_eq!(message["message_content"], "The heating is off since this morning");

    let id = stack.send(&handset, "We are on our way").await;
    let sent = stack.wait_for_status(&id, "delivered").await;
    assert_eq!(column(&sent["status_history"], "status"), ["sent", "delivered"]);
    assert_eq!(column(&sent["attempts"], "outcome"), ["accepted"]);
    assert_eq!(sent["conversation_id"], conversation["conversation_id"]);

    let received = stack.received_by(&handset).await;
    assert_eq!(received.len(), 1, "{received:#?}");
    assert_eq!(
        (&received[0]["body"], &received[0]["message_sid"], &received[0]["from"]),
        (&"We are on our way".into(), &sent["twilio_sid"], &stack.info.phone_number.as_str().into())
    );
    let conversation = stack.wait_for_conversation(&handset, |page| page["total"] == 2).await;
    assert_eq!(column(&conversation["messages"], "direction"), ["outbound", "inbound"], "newest first");
    stack.wait_for_empty_queues().await;
}

impl Stack {
    /// Waits until a function has logged this message with this request ID.
    async fn wait_for_log(&self, function: &str, message: &str, request_id: &str) {
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
async fn an_inbound_message_and_its_reply_are_stored_and_delivered_once() {
    check_message_flow(&Setup::as_deployed().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_a_webhook_is_stored_and_logged_by_both_functions() {
    let stack = shared().await;
    let (handset, sid, request_id) = (fresh_handset(), fresh_sid(), fresh_sid());
    let webhook = stack.inbound_webhook(&handset, &sid, "Hello").header("x-request-id", &request_id);
    let response = stack.post_webhook(&webhook).await;
    assert_eq!((response.status, response.request_id.as_deref()), (200, Some(request_id.as_str())));
    let sql = stack.sql().await;
    let count = "select count(*) from sms_messages where twilio_sid = $1 and request_id = $2";
    sql.wait_for_count(count, &[&sid, &request_id], 1).await;
    for (function, message) in
        [("inbound-sms", "request completed"), ("record-inbound", "stored an inbound message")]
    {
        stack.wait_for_log(function, message, &request_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_a_send_is_returned_stored_and_logged() {
    let stack = shared().await;
    let (handset, request_id) = (fresh_handset(), fresh_sid());
    let body = serde_json::json!({ "to": handset, "body": "The plumber comes at nine" });
    let key = fresh_sid();
    let call = || stack.api_request("POST", "/sms/send").header("idempotency-key", &key).json(&body);
    let response = stack.response_to(|| call().header("x-request-id", &request_id)).await;
    assert_eq!((response.status, response.request_id.as_deref()), (202, Some(request_id.as_str())));
    let id = response.json()["id"].as_str().unwrap().to_owned();
    stack.wait_for_status(&id, "delivered").await;
    let row = stack.sql().await;
    let row = row.row("select request_id from sms_messages where id::text = $1", &[&id]).await;
    assert_eq!(row.get::<_, &str>(0), request_id);
    for (function, message) in
        [("send-sms", "request completed"), ("send-outbound", "message accepted by Twilio")]
    {
        stack.wait_for_log(function, message, &request_id).await;
    }
    assert_eq!(stack.received_by(&handset).await.len(), 1);
    for function in stack.info.functions.keys() {
        let log = format!("{:?}", stack.log(function));
        assert!(!log.contains(&handset), "{function} logs a phone number");
        assert!(!log.contains("plumber"), "{function} logs a message body");
    }
    stack.wait_for_empty_queues().await;
}
