//! The outcome of create calls without a response is resolved with Twilio's lists.

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack, eventually, send_signal};

fn outcomes(message: &Value) -> Vec<&str> {
    let attempts = message["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["outcome"].as_str().unwrap_or("none")).collect()
}

/// Starts a stack with short timeouts (two seconds for Twilio, ten instead of 15 minutes) and an unreachable callback
/// URL.
async fn start() -> Stack {
    Setup::fast()
        .with("TWILIO_TIMEOUT_MS", "2000")
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "10")
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "5")
        .with("PUBLIC_WEBHOOK_BASE_URL", "http://127.0.0.1:9")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_messages_are_found_in_the_list_and_others_are_sent_again() {
    let stack = start().await;
    let faults = [
        (json!({ "kind": "reset_after_read", "accept": true }), vec!["accepted"]),
        (json!({ "kind": "hang", "accept": true }), vec!["accepted"]),
        (json!({ "kind": "server_error", "accept": true, "status": 503 }), vec!["accepted"]),
        // Not in the first list, but in the one that decides.
        (json!({ "kind": "late", "ms": 4_000 }), vec!["accepted"]),
        (json!({ "kind": "truncated" }), vec!["accepted"]),
        (json!({ "kind": "garbled" }), vec!["accepted"]),
        (json!({ "kind": "reset_after_read", "accept": false }), vec!["not_processed", "accepted"]),
        (json!({ "kind": "hang", "accept": false }), vec!["not_processed", "accepted"]),
        (json!({ "kind": "server_error", "accept": false }), vec!["not_processed", "accepted"]),
    ];
    let sends = faults.into_iter().map(async |(fault, expected)| {
        let handset = fresh_handset();
        stack.set_fault_for(&handset, fault.clone()).await;
        let id = stack.send(&handset, "Exactly once").await;
        let message = stack
            .wait_for_message(&id, "has the expected attempts", |message| outcomes(message) == expected)
            .await;
        assert!(message["twilio_sid"].is_string(), "{fault}: {message:#}");
        eventually("the handset has received the message", async || {
            (!stack.received_by(&handset).await.is_empty()).then_some(())
        })
        .await;
        (handset, fault)
    });
    let sends = join_all(sends).await;
    stack.wait_for_sweeps(4).await;
    stack.wait_for_empty_queues().await;
    for (handset, fault) in sends {
        assert_eq!(stack.received_by(&handset).await.len(), 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_messages_are_each_delivered_once() {
    let stack = start().await;
    let handset = fresh_handset();
    let accepted = json!({ "kind": "hang", "accept": true });
    let lost = json!({ "kind": "hang", "accept": false });
    stack.set_fault(json!({ "match": { "to": handset }, "count": 2, "fault": accepted })).await;
    stack.set_fault(json!({ "match": { "to": handset }, "count": 1, "fault": lost })).await;
    let ids = join_all((0..3).map(|_| stack.send(&handset, "The same"))).await;
    for id in &ids {
        stack.wait_for_message(id, "has a SID", |message| message["twilio_sid"].is_string()).await;
    }
    stack.wait_for_sweeps(4).await;
    stack.wait_for_empty_queues().await;
    eventually("all messages are received", async || {
        (stack.received_by(&handset).await.len() >= 3).then_some(())
    })
    .await;
    assert_eq!(stack.received_by(&handset).await.len(), 3);
    let mut sids = Vec::new();
    for id in &ids {
        sids.push(stack.message(id).await["twilio_sid"].as_str().unwrap().to_owned());
    }
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 3, "each message must have its own SID");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_a_killed_senders_call_is_resolved() {
    let stack = start().await;
    for accept in [true, false] {
        let handset = fresh_handset();
        stack.set_fault_for(&handset, json!({ "kind": "hang", "accept": accept })).await;
        let id = stack.send(&handset, "Killed during the call").await;
        eventually("Twilio has the request", async || {
            (stack.count_creates(&handset).await == 1).then_some(())
        })
        .await;
        stack.pids("send-outbound").into_iter().for_each(|pid| send_signal(pid, Signal::KILL));
        let message =
            stack.wait_for_message(&id, "has a SID", |message| message["twilio_sid"].is_string()).await;
        let expected: &[&str] = if accept { &["accepted"] } else { &["not_processed", "accepted"] };
        assert_eq!(outcomes(&message), expected, "{message:#}");
        eventually("the handset has received the message", async || {
            (!stack.received_by(&handset).await.is_empty()).then_some(())
        })
        .await;
        stack.wait_for_sweeps(2).await;
        assert_eq!(stack.received_by(&handset).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_the_lists_cannot_resolve_is_parked_and_not_sent_again() {
    let stack = Setup::fast()
        .with("TWILIO_TIMEOUT_MS", "2000")
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "1")
        .with("UNKNOWN_PARK_AFTER_SECONDS", "2")
        .start()
        .await;
    let handset = fresh_handset();
    let error = json!({ "kind": "error", "code": 20003, "status": 403 });
    stack
        .set_fault(json!({ "match": { "operation": "list", "to": handset }, "count": 0, "fault": error }))
        .await;
    stack.set_fault_for(&handset, json!({ "kind": "hang", "accept": false })).await;
    let id = stack.send(&handset, "Unresolvable").await;
    let sql = stack.sql().await;
    let parked = "select count(*) from sms_messages m join (
                      select message_id, body from sms_events
                      union all select message_id, body from sms_events_pending) e on e.message_id = m.id
                  where m.to_number = $1 and m.parked_at is not null and e.body::jsonb->'data'->>'parked' = 'true'";
    sql.wait_for_count(parked, &[&handset], 1).await;
    let url = format!("{}/simulator/faults", stack.info.twilio_api_url);
    crate::client::send_request(crate::client::request("DELETE", &url)).await;
    stack.wait_for_sweeps(4).await;
    assert_eq!(stack.message(&id).await["delivery_status"], "unknown");
    assert_eq!(stack.received_by(&handset).await.len(), 0);
}
