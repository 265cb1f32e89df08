//! What webhooks never brought is found in Twilio's own lists.

use serde_json::json;

use crate::client::{exchange, fresh_handset, request};
use crate::stack::{Setup, Stack};

/// A stack whose webhooks lead nowhere, so that only Twilio's lists tell anything.
async fn start() -> Stack {
    Setup::impatient()
        .with("PUBLIC_WEBHOOK_BASE_URL", "http://127.0.0.1:9")
        .with("RECONCILE_GRACE_SECONDS", "0")
        .start()
        .await
}

/// A text that only Twilio knows.
async fn lost_text(stack: &Stack, from: &str, body: &str) {
    let url = format!("{}/simulator/handsets/{from}/messages", stack.info.twilio_api_url);
    exchange(request("POST", &url).json(&json!({ "body": body }))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_no_callback_told_are_filled_in() {
    let stack = start().await;
    let (arrives, landline) = (fresh_handset(), fresh_handset());
    stack.arm_for(&landline, json!({ "kind": "failed", "code": 30006 })).await;
    let (arrives_id, landline_id) =
        (stack.send(&arrives, "Did it arrive?").await, stack.send(&landline, "Did it?").await);
    let message = stack.reaches(&arrives_id, "delivered").await;
    assert!(message["status_history"].as_array().unwrap().iter().any(|told| told["status"] == "delivered"));
    assert_eq!(stack.reaches(&landline_id, "failed").await["error_code"], "30006");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_whose_webhooks_are_lost_are_stored_once_and_a_stop_among_them_counts() {
    let (lost, stops) = (fresh_handset(), fresh_handset());
    let stack = start().await;
    lost_text(&stack, &lost, "Se rompió la calefacción, hace mucho frío").await;
    lost_text(&stack, &stops, "STOP").await;
    let page = stack.conversation_where(&lost, |page| page["total"] == 1).await;
    assert_eq!(page["messages"][0]["content"], "Se rompió la calefacción, hace mucho frío");
    stack.conversation_where(&stops, |page| page["opted_out"] == true).await;
    let again = stack.try_send(&stops, "Hello?").await;
    assert_eq!((again.status, again.code().as_str()), (409, "sms.recipient_opted_out"));
    let answer = stack.invoke("reconcile-twilio", json!({})).await;
    assert_eq!(answer["inbound_recovered"], 0, "{answer}");
    assert_eq!(stack.conversation(&lost).await.unwrap()["total"], 1);
}
