//! Bulk requests: progress, pause, resume and cancellation, with the real functions.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{fresh_handset, fresh_sid, request, send_request};
use crate::stack::{Setup, Stack, eventually};

/// How soon a pause or a cancellation must take effect.
const EFFECT: Duration = Duration::from_secs(2);

/// Starts a stack whose sender needs some seconds for a batch.
async fn start() -> Stack {
    Setup::fast().with("SENDER_SEGMENTS_PER_SECOND", "20").with("SENDER_BURST_SEGMENTS", "60").start().await
}

impl Stack {
    /// Posts a bulk request and returns the response of an accepted one.
    pub async fn send_bulk(&self, payload: &Value) -> Value {
        let key = fresh_sid();
        let response = self
            .response_to(|| {
                self.api_request("POST", "/sms/bulk").header("idempotency-key", &key).json(payload)
            })
            .await;
        assert_eq!(response.status, 202, "{response:?}");
        response.json()
    }

    /// Calls an action on a batch, or reads its progress. Returns the progress.
    pub async fn batch(&self, method: &str, batch: &str, action: &str) -> Value {
        let response = self.response(method, &format!("/sms/bulk/{batch}{action}"), None).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Waits until a batch has a status, and returns its progress.
    pub async fn wait_for_batch(&self, batch: &str, status: &str, by_status: &Value) -> Value {
        eventually(&format!("the batch is {status}: {by_status}"), async || {
            let progress = self.batch("GET", batch, "").await;
            (progress["status"] == status && progress["by_status"] == *by_status).then_some(progress)
        })
        .await
    }

    /// Returns the number of all create calls.
    pub async fn count_all_creates(&self) -> usize {
        let url = format!("{}/simulator/creates", self.info.twilio_api_url);
        send_request(request("GET", &url)).await.json().as_array().unwrap().len()
    }
}

fn texts_to(handsets: &[String]) -> Value {
    let recipients: Vec<Value> = handsets
        .iter()
        .enumerate()
        .map(|(i, to)| json!({"to": to, "variables": {"unit": i}, "language": (["en", "es", "pt"][i % 3])}))
        .collect();
    json!({
        "texts": {
            "en": "Unit {{unit}}: water is off on May 3.",
            "es": "Unidad {{unit}}: el 3 de mayo no hay agua.",
            "pt": "Unidade {{unit}}: sem água em 3 de maio.",
        },
        "recipients": recipients,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_batch_sends_nothing_until_it_is_resumed_and_then_completes() {
    let stack = start().await;
    let handsets: Vec<String> = (0..150).map(|_| fresh_handset()).collect();
    let accepted = stack.send_bulk(&texts_to(&handsets)).await;
    assert_eq!((&accepted["accepted"], &accepted["rejected"]), (&json!(150), &json!(0)));
    let batch = accepted["batch_id"].as_str().unwrap();
    eventually("some messages were sent", async || (stack.count_all_creates().await > 5).then_some(())).await;
    let paused = stack.batch("POST", batch, "/pause").await;
    assert_eq!(paused["status"], "paused");
    tokio::time::sleep(EFFECT).await;
    let creates = stack.count_all_creates().await;
    assert!(creates < 150, "{creates} creates");
    // Other messages of the same sender do not wait, even bulk ones.
    let handset = fresh_handset();
    let other = stack.send_bulk(&json!({"messages": [{"to": handset, "body": "another batch"}]})).await;
    let other_id = other["items"][0]["id"].as_str().unwrap();
    stack.wait_for_status(other_id, "delivered").await;
    stack.wait_for_sweeps(2).await;
    assert_eq!(stack.count_all_creates().await, creates + 1);

    let resumed = stack.batch("POST", batch, "/resume").await;
    assert_eq!(resumed["status"], "running");
    let progress = stack.wait_for_batch(batch, "completed", &json!({"delivered": 150})).await;
    assert_eq!((&progress["total"], progress["segments"].as_i64().unwrap() >= 150), (&json!(150), true));
    for (i, handset) in handsets.iter().enumerate().step_by(37) {
        let received = stack.received_by(handset).await;
        assert_eq!(received.len(), 1, "{received:?}");
        assert!(received[0]["body"].as_str().unwrap().contains(&format!(" {i}: ")), "{received:?}");
    }
    assert_eq!(stack.count_all_creates().await, 151);
    let events = stack.response("GET", "/events?types=batch.completed", None).await.json();
    let completed: Vec<&Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["data"]["batch_id"] == batch)
        .collect();
    assert_eq!(completed.len(), 1, "{events}");
    assert_eq!(completed[0]["data"]["by_status"], json!({"delivered": 150}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_sends_nothing_more_and_every_message_is_counted() {
    let stack = start().await;
    let handsets: Vec<String> = (0..150).map(|_| fresh_handset()).collect();
    let accepted = stack.send_bulk(&texts_to(&handsets)).await;
    let batch = accepted["batch_id"].as_str().unwrap();
    eventually("some messages were sent", async || (stack.count_all_creates().await > 5).then_some(())).await;
    let cancelled = stack.batch("POST", batch, "/cancel").await;
    assert_eq!(cancelled["status"], "cancelled");
    tokio::time::sleep(EFFECT).await;
    let creates = stack.count_all_creates().await;
    assert!(creates < 150, "{creates} creates");
    let expected = json!({"canceled": 150 - creates, "delivered": creates});
    stack.wait_for_batch(batch, "cancelled", &expected).await;
    stack.wait_for_sweeps(2).await;
    assert_eq!(stack.count_all_creates().await, creates);
    let join = json!({"messages": [{"to": handsets[0], "body": "too late"}], "batch_id": batch});
    let refused = stack.response("POST", "/sms/bulk", Some(&join)).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "sms.conflict"));
    let resumed = stack.response("POST", &format!("/sms/bulk/{batch}/resume"), None).await;
    assert_eq!((resumed.status, resumed.code().as_str()), (409, "sms.conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_does_not_delay_urgent_and_normal_messages() {
    // More than a minute for the batch, so that a slow machine does not send it before the other messages.
    let setup = Setup::fast().with("SENDER_SEGMENTS_PER_SECOND", "4").with("SENDER_BURST_SEGMENTS", "12");
    let stack = setup.start().await;
    let handsets: Vec<String> = (0..300).map(|_| fresh_handset()).collect();
    let accepted = stack.send_bulk(&texts_to(&handsets)).await;
    let batch = accepted["batch_id"].as_str().unwrap();
    eventually("some messages were sent", async || (stack.count_all_creates().await > 5).then_some(())).await;
    for _ in 0..3 {
        let handset = fresh_handset();
        let id = stack.send(&handset, "Your plumber is at the door").await;
        stack.wait_for_status(&id, "delivered").await;
    }
    let progress = stack.batch("GET", batch, "").await;
    assert_eq!(progress["status"], "running");
    assert!(progress["by_status"]["pending"].as_i64().unwrap_or_default() > 0, "{progress}");
    stack.batch("POST", batch, "/cancel").await;
}
