//! Reconciliation with Twilio's message lists after lost webhooks.

use serde_json::json;

use crate::client::{fresh_handset, request, send_request};
use crate::stack::{Setup, Stack};

/// Starts a stack with an unreachable webhook URL, so that it depends on Twilio's lists.
async fn start() -> Stack {
    Setup::fast()
        .with("PUBLIC_WEBHOOK_BASE_URL", "http://127.0.0.1:9")
        .with("RECONCILE_GRACE_SECONDS", "0")
        .start()
        .await
}

/// Sends a message from a handset. Its webhook is lost.
async fn lost_message(stack: &Stack, from: &str, body: &str) {
    let url = format!("{}/simulator/handsets/{from}/messages", stack.info.twilio_api_url);
    send_request(request("POST", &url).json(&json!({ "body": body }))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_without_callbacks_are_recovered() {
    let stack = start().await;
    let (mobile, landline) = (fresh_handset(), fresh_handset());
    stack.set_fault_for(&landline, json!({ "kind": "failed", "code": 30006 })).await;
    let (mobile_id, landline_id) =
        (stack.send(&mobile, "To a mobile").await, stack.send(&landline, "To a landline").await);
    let message = stack.wait_for_status(&mobile_id, "delivered").await;
    assert!(message["status_history"].as_array().unwrap().iter().any(|event| event["status"] == "delivered"));
    assert_eq!(stack.wait_for_status(&landline_id, "failed").await["error_code"], "30006");
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_messages_with_lost_webhooks_are_stored_once_including_a_stop() {
    let (lost, stops) = (fresh_handset(), fresh_handset());
    let stack = start().await;
    lost_message(&stack, &lost, "Se rompió la calefacción, hace mucho frío").await;
    lost_message(&stack, &stops, "STOP").await;
    let page = stack.wait_for_conversation(&lost, |page| page["total"] == 1).await;
    assert_eq!(page["messages"][0]["content"], "Se rompió la calefacción, hace mucho frío");
    stack.wait_for_conversation(&stops, |page| page["opted_out"] == true).await;
    let again = stack.try_send(&stops, "Hello?").await;
    assert_eq!((again.status, again.code().as_str()), (409, "sms.recipient_opted_out"));
    let response = stack.invoke("reconcile-twilio", json!({})).await;
    assert_eq!(response["inbound_recovered"], 0, "{response}");
    assert_eq!(stack.conversation(&lost).await.unwrap()["total"], 1);
}
