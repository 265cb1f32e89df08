//! What may go wrong when a message is handed to Twilio: no handset ever gets it twice.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack};

fn outcomes(message: &Value) -> Vec<&str> {
    let attempts = message["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["outcome"].as_str().unwrap_or("none")).collect()
}

/// A stack that gives Twilio two seconds, and tries again after one.
async fn start() -> Stack {
    Setup::impatient()
        .with("TWILIO_TIMEOUT_MS", "2000")
        .with("SEND_RETRY_DELAYS_SECONDS", "1,1,1")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_took_without_saying_so_is_unknown_until_a_callback_tells_and_is_never_sent_again() {
    let stack = start().await;
    // Nothing else may tell.
    let no_lists = json!({ "kind": "error", "code": 20003, "status": 403 });
    stack.arm(json!({ "match": { "operation": "list" }, "count": 0, "fault": no_lists })).await;
    let took = [
        json!({ "kind": "reset_after_read", "accept": true }),
        json!({ "kind": "hang", "accept": true }),
        json!({ "kind": "server_error", "accept": true }),
        json!({ "kind": "server_error", "accept": true, "status": 503 }),
        json!({ "kind": "truncated" }),
        json!({ "kind": "garbled" }),
    ];
    let sends = took.into_iter().map(async |fault| {
        let handset = fresh_handset();
        stack.arm_for(&handset, fault.clone()).await;
        let id = stack.send(&handset, "Once at most").await;
        stack.reaches(&id, "delivered").await;
        let message = stack.becomes(&id, "settled", |message| outcomes(message) == ["accepted"]).await;
        assert!(message["twilio_sid"].is_string(), "{fault}: {message:#}");
        (handset, id, fault)
    });
    let sends = join_all(sends).await;
    stack.sweeps(3).await;
    stack.queues_are_empty().await;
    for (handset, id, fault) in sends {
        assert_eq!(stack.ledger(&handset).await.len(), 1, "{fault}");
        assert_eq!(outcomes(&stack.message(&id).await), ["accepted"], "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_or_may_not_have_been_taken_is_not_sent_again_before_it_is_proven_absent() {
    let stack = start().await;
    let silent = [
        // Nobody will ever hear of these again; of the last one the handset gets a copy.
        (json!({ "kind": "reset_before_read" }), 0),
        (json!({ "kind": "reset_after_read", "accept": false }), 0),
        (json!({ "kind": "hang", "accept": false }), 0),
        (json!({ "kind": "server_error", "accept": false }), 0),
        (json!({ "kind": "server_error", "accept": false, "status": 503 }), 0),
    ];
    let mut sends = Vec::new();
    // One after the other: a fault before the request is read cannot tell one recipient from another.
    for (fault, received) in silent {
        let handset = fresh_handset();
        stack.arm(json!({ "fault": fault })).await;
        let id = stack.send(&handset, "Perhaps").await;
        let message = stack.reaches(&id, "unknown").await;
        assert_eq!(outcomes(&message), ["unknown"], "{fault}");
        sends.push((handset, id, fault, received));
    }
    stack.sweeps(3).await;
    stack.queues_are_empty().await;
    for (handset, id, fault, received) in sends {
        let message = stack.message(&id).await;
        assert_eq!(
            (&message["delivery_status"], outcomes(&message)),
            (&"unknown".into(), vec!["unknown"]),
            "{fault}"
        );
        assert_eq!(stack.ledger(&handset).await.len(), received, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_surely_did_not_process_is_tried_again_until_it_is_delivered_once() {
    let stack = start().await;
    let limited = fresh_handset();
    // The first invocation gives up after three tries; the next one, a second later, meets the fourth.
    let fault = json!({ "kind": "rate_limited", "retry_after": 1 });
    stack.arm(json!({ "match": { "to": limited }, "count": 4, "fault": fault })).await;
    let limited_id = stack.send(&limited, "Not too fast").await;
    let message = stack.reaches(&limited_id, "delivered").await;
    assert_eq!(outcomes(&message), ["not_processed", "accepted"], "{message:#}");
    assert_eq!(stack.ledger(&limited).await.len(), 1);

    // On a busy machine a short time may be over before anybody calls.
    for seconds in [4.0, 15.0, 60.0] {
        let away = fresh_handset();
        stack.twilio_away(seconds).await;
        let away_id = stack.send(&away, "Is anybody there?").await;
        let message = stack.reaches(&away_id, "delivered").await;
        stack.queues_are_empty().await;
        assert_eq!(stack.ledger(&away).await.len(), 1);
        let tried = outcomes(&message);
        assert_eq!(tried.last(), Some(&"accepted"), "{message:#}");
        if tried.first() == Some(&"not_processed") {
            return;
        }
    }
    panic!("nobody called while Twilio was away");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_refuses_has_failed_with_its_code() {
    let stack = start().await;
    let refused = [21211, 21612, 21408, 21614, 30007].map(async |code| {
        let handset = fresh_handset();
        stack.arm_for(&handset, json!({ "kind": "error", "code": code })).await;
        let id = stack.send(&handset, "Refused").await;
        let message = stack.reaches(&id, "failed").await;
        assert_eq!(message["error_code"], code.to_string());
        assert_eq!(outcomes(&message), ["rejected"]);
        assert_eq!(stack.ledger(&handset).await.len(), 0);
    });
    join_all(refused).await;
    let stopped = fresh_handset();
    stack.arm_for(&stopped, json!({ "kind": "error", "code": 21610 })).await;
    let id = stack.send(&stopped, "Opted out at Twilio").await;
    assert_eq!(stack.reaches(&id, "failed").await["error_code"], "21610");
    stack.conversation_where(&stopped, |page| page["opted_out"] == true).await;
    let again = stack.try_send(&stopped, "Once more").await;
    assert_eq!((again.status, again.code().as_str()), (409, "sms.recipient_opted_out"));
    stack.queues_are_empty().await;
}
