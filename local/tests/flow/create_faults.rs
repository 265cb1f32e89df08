//! Errors of Twilio's create call. No handset receives a message twice.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack};

fn outcomes(message: &Value) -> Vec<&str> {
    let attempts = message["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["outcome"].as_str().unwrap_or("none")).collect()
}

/// Starts a stack with a Twilio timeout of two seconds and retries after one second.
async fn start() -> Stack {
    Setup::fast().with("TWILIO_TIMEOUT_MS", "2000").with("SEND_RETRY_DELAYS_SECONDS", "1,1,1").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_accepted_without_a_response_is_settled_by_its_callback_and_not_sent_again() {
    let stack = start().await;
    // Without the lists, only callbacks can settle the messages.
    let no_lists = json!({ "kind": "error", "code": 20003, "status": 403 });
    stack.set_fault(json!({ "match": { "operation": "list" }, "count": 0, "fault": no_lists })).await;
    let faults = [
        json!({ "kind": "reset_after_read", "accept": true }),
        json!({ "kind": "hang", "accept": true }),
        json!({ "kind": "server_error", "accept": true }),
        json!({ "kind": "server_error", "accept": true, "status": 503 }),
        json!({ "kind": "truncated" }),
        json!({ "kind": "garbled" }),
    ];
    let sends = faults.into_iter().map(async |fault| {
        let handset = fresh_handset();
        stack.set_fault_for(&handset, fault.clone()).await;
        let id = stack.send(&handset, "Once at most").await;
        stack.wait_for_status(&id, "delivered").await;
        let message =
            stack.wait_for_message(&id, "is accepted", |message| outcomes(message) == ["accepted"]).await;
        assert!(message["twilio_sid"].is_string(), "{fault}: {message:#}");
        (handset, id, fault)
    });
    let sends = join_all(sends).await;
    stack.wait_for_sweeps(3).await;
    stack.wait_for_empty_queues().await;
    for (handset, id, fault) in sends {
        assert_eq!(stack.received_by(&handset).await.len(), 1, "{fault}");
        assert_eq!(outcomes(&stack.message(&id).await), ["accepted"], "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_with_an_unknown_outcome_is_not_sent_again() {
    let stack = start().await;
    let faults = [
        json!({ "kind": "reset_before_read" }),
        json!({ "kind": "reset_after_read", "accept": false }),
        json!({ "kind": "hang", "accept": false }),
        json!({ "kind": "server_error", "accept": false }),
        json!({ "kind": "server_error", "accept": false, "status": 503 }),
    ];
    let mut sends = Vec::new();
    // One at a time: a fault before the request is read applies to any recipient.
    for fault in faults {
        let handset = fresh_handset();
        stack.set_fault(json!({ "fault": fault })).await;
        let id = stack.send(&handset, "Perhaps").await;
        let message = stack.wait_for_status(&id, "unknown").await;
        assert_eq!(outcomes(&message), ["unknown"], "{fault}");
        sends.push((handset, id, fault));
    }
    stack.wait_for_sweeps(3).await;
    stack.wait_for_empty_queues().await;
    for (handset, id, fault) in sends {
        let message = stack.message(&id).await;
        assert_eq!(
            (&message["delivery_status"], outcomes(&message)),
            (&"unknown".into(), vec!["unknown"]),
            "{fault}"
        );
        assert_eq!(stack.received_by(&handset).await.len(), 0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_twilio_did_not_process_is_retried_until_delivered() {
    let stack = start().await;
    let limited = fresh_handset();
    // The first invocation makes three attempts. The next invocation, a second later, gets the fourth error.
    let fault = json!({ "kind": "rate_limited", "retry_after": 1 });
    stack.set_fault(json!({ "match": { "to": limited }, "count": 4, "fault": fault })).await;
    let limited_id = stack.send(&limited, "Not too fast").await;
    let message = stack.wait_for_status(&limited_id, "delivered").await;
    assert_eq!(outcomes(&message), ["not_processed", "accepted"], "{message:#}");
    assert_eq!(stack.received_by(&limited).await.len(), 1);

    // On a busy machine, a short outage may be over before the first call.
    for seconds in [4.0, 15.0, 60.0] {
        let handset = fresh_handset();
        stack.start_twilio_outage(seconds).await;
        let id = stack.send(&handset, "During an outage").await;
        let message = stack.wait_for_status(&id, "delivered").await;
        stack.wait_for_empty_queues().await;
        assert_eq!(stack.received_by(&handset).await.len(), 1);
        let outcomes = outcomes(&message);
        assert_eq!(outcomes.last(), Some(&"accepted"), "{message:#}");
        if outcomes.first() == Some(&"not_processed") {
            return;
        }
    }
    panic!("no create call was made during an outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_create_fails_with_twilios_error_code() {
    let stack = start().await;
    let refused = [21211, 21612, 21408, 21614, 30007].map(async |code| {
        let handset = fresh_handset();
        stack.set_fault_for(&handset, json!({ "kind": "error", "code": code })).await;
        let id = stack.send(&handset, "Rejected").await;
        let message = stack.wait_for_status(&id, "failed").await;
        assert_eq!(message["error_code"], code.to_string());
        assert_eq!(outcomes(&message), ["rejected"]);
        assert_eq!(stack.received_by(&handset).await.len(), 0);
    });
    join_all(refused).await;
    let opted_out = fresh_handset();
    stack.set_fault_for(&opted_out, json!({ "kind": "error", "code": 21610 })).await;
    let id = stack.send(&opted_out, "Opted out at Twilio").await;
    assert_eq!(stack.wait_for_status(&id, "failed").await["error_code"], "21610");
    stack.wait_for_conversation(&opted_out, |page| page["opted_out"] == true).await;
    let again = stack.try_send(&opted_out, "Again").await;
    assert_eq!((again.status, again.code().as_str()), (409, "sms.recipient_opted_out"));
    stack.wait_for_empty_queues().await;
}
