//! What an operator does with sends that nobody else settles: looks, decides, has them tried again.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::{exchange, fresh_handset, request};
use crate::oracle::{self, Intent, PATIENCE, QUIET};
use crate::stack::{Setup, Stack};

/// The ids that `manage-sends` lists.
async fn listed(stack: &Stack, payload: Value) -> Vec<Value> {
    let answer = stack.invoke("manage-sends", payload).await;
    answer["messages"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone()
}

fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["id"].as_str().unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test needs no clock of the service's")]
fn now() -> String {
    Timestamp::now().to_string()
}

async fn retry(stack: &Stack, payload: Value) -> Value {
    let mut command = json!({ "action": "retry" });
    command.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
    stack.invoke("manage-sends", command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_decided_by_a_person_and_goes_on_from_there() {
    let stack = Setup::impatient()
        .with("TWILIO_TIMEOUT_MS", "3000")
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "1")
        .with("UNKNOWN_PARK_AFTER_SECONDS", "2")
        .with("RECONCILE_GRACE_SECONDS", "0")
        .start()
        .await;
    // Twilio's lists can't be read, and nobody tells of what it took.
    let refused = json!({ "kind": "error", "code": 20003, "status": 403 });
    stack.arm(json!({ "match": { "operation": "list" }, "count": 0, "fault": refused })).await;
    let (took, lost) = (fresh_handset(), fresh_handset());
    for (handset, accept) in [(&took, true), (&lost, false)] {
        let hang = json!({ "kind": "hang", "accept": accept });
        let silent = json!({ "mode": "lost" });
        stack.arm(json!({ "match": { "to": handset }, "fault": hang, "callbacks": silent })).await;
    }
    let intents = [stack.intend(&took, "Was it sent?").await, stack.intend(&lost, "Or was it not?").await];
    let parked = "select count(*) from sms_messages where parked_at is not null";
    stack.sql().await.reaches(parked, &[], 2).await;

    let waiting = listed(&stack, json!({ "action": "list", "status": "unknown" })).await;
    assert_eq!(ids(&waiting), [&intents[0].id, &intents[1].id]);
    assert!(waiting.iter().all(|message| message["parked_at"].is_string() && message["attempts"] == 1));
    // Nothing is tried again that has not failed.
    let answer = retry(&stack, json!({ "message_ids": [intents[0].id] })).await;
    assert_eq!(answer["refused"][0]["reason"], "it has not failed", "{answer}");

    let sid = stack.ledger(&took).await[0]["message_sid"].clone();
    let decide = async |decision: Value| stack.invoke("manage-sends", decision).await;
    let sent = json!({ "action": "decide", "message_id": intents[0].id, "was": "sent", "twilio_sid": sid });
    assert_eq!(decide(sent.clone()).await["status"], "queued");
    let again = decide(sent).await.to_string();
    assert!(again.contains("there is nothing to decide"), "{again}");
    let not_sent = json!({ "action": "decide", "message_id": intents[1].id, "was": "not_sent" });
    assert_eq!(decide(not_sent).await["status"], "pending");
    stack.reaches(&intents[1].id, "delivered").await;

    // The lists can be read again: what was decided is followed on from there.
    let faults = format!("{}/simulator/faults", stack.info.twilio_api_url);
    exchange(request("DELETE", &faults)).await;
    stack.reaches(&intents[0].id, "delivered").await;
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.creates, figures.receipts, figures.delivered), (3, 2, 2), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_failed_is_tried_again_by_its_id_or_by_its_code_and_time() {
    let stack = Setup::impatient().start().await;
    let failed = async |code: u32| -> Intent {
        let handset = fresh_handset();
        stack.arm_for(&handset, json!({ "kind": "error", "code": code })).await;
        let intent = stack.intend(&handset, "Refused at first").await;
        assert_eq!(stack.reaches(&intent.id, "failed").await["error_code"], code.to_string());
        intent
    };
    let too_early = failed(30007).await;
    let since = now();
    let (one, other, stopped) = (failed(30007).await, failed(30007).await, failed(30007).await);
    let of_another_code = failed(21612).await;
    let until = now();
    let too_late = failed(30007).await;
    let arrived = stack.intend(&fresh_handset(), "There already").await;
    stack.reaches(&arrived.id, "delivered").await;
    stack.text(&stopped.to, "BAJA").await;
    stack.conversation_where(&stopped.to, |page| page["opted_out"] == true).await;

    let of_the_code = json!({ "action": "list", "status": "failed", "error_code": "30007", "since": since, "until": until });
    assert_eq!(ids(&listed(&stack, of_the_code).await), [&one.id, &other.id, &stopped.id]);
    let by_code = json!({ "error_code": "30007", "since": since, "until": until });
    let answer = retry(&stack, by_code.clone()).await;
    assert_eq!(answer["retried"], json!([one.id, other.id]), "{answer}");
    let refused = json!([{ "message_id": stopped.id, "reason": "its recipient has opted out" }]);
    assert_eq!(answer["refused"], refused);
    let by_id = json!({ "message_ids": [too_late.id, arrived.id, of_another_code.id] });
    let answer = retry(&stack, by_id).await;
    assert_eq!(answer["retried"], json!([too_late.id, of_another_code.id]), "{answer}");
    assert_eq!(answer["refused"][0]["reason"], "it has not failed");

    let retried = [&one, &other, &too_late, &of_another_code];
    for intent in retried {
        stack.reaches(&intent.id, "delivered").await;
    }
    // Asked for once more, nothing is sent once more.
    assert_eq!(retry(&stack, by_code).await["retried"], json!([]));
    oracle::quiet(&stack, PATIENCE).await;
    let intents = [too_early, one, other, stopped, of_another_code, too_late, arrived];
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.receipts, figures.delivered, figures.failed), (5, 5, 2), "{figures}");
    // Each was refused once, five were taken.
    assert_eq!(figures.creates, 6 + 5, "{figures}");
}
