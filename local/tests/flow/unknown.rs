//! What became of a create call without an answer is found out in Twilio's own lists, where no callback tells.

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack, eventually, send_signal};

fn outcomes(message: &Value) -> Vec<&str> {
    let attempts = message["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["outcome"].as_str().unwrap_or("none")).collect()
}

/// A stack that gives Twilio two seconds, takes ten for a quarter of an hour, and to which no callback finds its way.
async fn start() -> Stack {
    Setup::impatient()
        .with("TWILIO_TIMEOUT_MS", "2000")
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "10")
        .with("SEND_CLAIM_TIMEOUT_SECONDS", "5")
        .with("PUBLIC_WEBHOOK_BASE_URL", "http://127.0.0.1:9")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_took_is_found_in_its_list_and_what_it_did_not_take_is_sent_again() {
    let stack = start().await;
    let faults = [
        (json!({ "kind": "reset_after_read", "accept": true }), vec!["accepted"]),
        (json!({ "kind": "hang", "accept": true }), vec!["accepted"]),
        (json!({ "kind": "server_error", "accept": true, "status": 503 }), vec!["accepted"]),
        // In no list yet when it is looked for first, and in the one that proves something.
        (json!({ "kind": "late", "ms": 4_000 }), vec!["accepted"]),
        (json!({ "kind": "truncated" }), vec!["accepted"]),
        (json!({ "kind": "garbled" }), vec!["accepted"]),
        (json!({ "kind": "reset_after_read", "accept": false }), vec!["not_processed", "accepted"]),
        (json!({ "kind": "hang", "accept": false }), vec!["not_processed", "accepted"]),
        (json!({ "kind": "server_error", "accept": false }), vec!["not_processed", "accepted"]),
    ];
    let sends = faults.into_iter().map(async |(fault, expected)| {
        let handset = fresh_handset();
        stack.arm_for(&handset, fault.clone()).await;
        let id = stack.send(&handset, "Once, whatever happens").await;
        let message = stack.becomes(&id, "settled", |message| outcomes(message) == expected).await;
        assert!(message["twilio_sid"].is_string(), "{fault}: {message:#}");
        eventually("it is on the handset", async || (!stack.ledger(&handset).await.is_empty()).then_some(()))
            .await;
        (handset, fault)
    });
    let sends = join_all(sends).await;
    stack.sweeps(4).await;
    stack.queues_are_empty().await;
    for (handset, fault) in sends {
        assert_eq!(stack.ledger(&handset).await.len(), 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_messages_each_reaches_the_handset_once() {
    let stack = start().await;
    let handset = fresh_handset();
    let answered = json!({ "kind": "hang", "accept": true });
    let lost = json!({ "kind": "hang", "accept": false });
    stack.arm(json!({ "match": { "to": handset }, "count": 2, "fault": answered })).await;
    stack.arm(json!({ "match": { "to": handset }, "count": 1, "fault": lost })).await;
    let ids = join_all((0..3).map(|_| stack.send(&handset, "The same"))).await;
    for id in &ids {
        stack.becomes(id, "settled", |message| message["twilio_sid"].is_string()).await;
    }
    stack.sweeps(4).await;
    stack.queues_are_empty().await;
    eventually("all are there", async || (stack.ledger(&handset).await.len() >= 3).then_some(())).await;
    assert_eq!(stack.ledger(&handset).await.len(), 3);
    let mut sids = Vec::new();
    for id in &ids {
        sids.push(stack.message(id).await["twilio_sid"].as_str().unwrap().to_owned());
    }
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 3, "each has one of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_function_had_handed_over_is_found_and_what_it_had_not_is_sent() {
    let stack = start().await;
    for accept in [true, false] {
        let handset = fresh_handset();
        stack.arm_for(&handset, json!({ "kind": "hang", "accept": accept })).await;
        let id = stack.send(&handset, "Killed on the way").await;
        eventually("Twilio has the request", async || (stack.creates(&handset).await == 1).then_some(()))
            .await;
        stack.pids("send-outbound").into_iter().for_each(|pid| send_signal(pid, Signal::KILL));
        let message = stack.becomes(&id, "settled", |message| message["twilio_sid"].is_string()).await;
        let expected: &[&str] = if accept { &["accepted"] } else { &["not_processed", "accepted"] };
        assert_eq!(outcomes(&message), expected, "{message:#}");
        eventually("it is on the handset", async || (!stack.ledger(&handset).await.is_empty()).then_some(()))
            .await;
        stack.sweeps(2).await;
        assert_eq!(stack.ledger(&handset).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilios_lists_cannot_tell_is_parked_and_never_sent_by_itself() {
    let stack = Setup::impatient()
        .with("TWILIO_TIMEOUT_MS", "2000")
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "1")
        .with("UNKNOWN_PARK_AFTER_SECONDS", "2")
        .start()
        .await;
    let handset = fresh_handset();
    let refused = json!({ "kind": "error", "code": 20003, "status": 403 });
    stack.arm(json!({ "match": { "operation": "list", "to": handset }, "count": 0, "fault": refused })).await;
    stack.arm_for(&handset, json!({ "kind": "hang", "accept": false })).await;
    let id = stack.send(&handset, "Who knows").await;
    let sql = stack.sql().await;
    let parked = "select count(*) from sms_messages m join sms_events e on e.message_id = m.id
                  where m.to_number = $1 and m.parked_at is not null and e.data->>'parked' = 'true'";
    sql.reaches(parked, &[&handset], 1).await;
    let url = format!("{}/simulator/faults", stack.info.twilio_api_url);
    crate::client::exchange(crate::client::request("DELETE", &url)).await;
    stack.sweeps(4).await;
    assert_eq!(stack.message(&id).await["delivery_status"], "unknown");
    assert_eq!(stack.ledger(&handset).await.len(), 0);
}
