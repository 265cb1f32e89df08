//! `manage-sends`: an operator lists, decides and retries sends.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::{fresh_handset, request, send_request};
use crate::oracle::{self, AcceptedSend, DEADLINE, IDLE};
use crate::stack::{Setup, Stack};

/// Returns the messages that `manage-sends` lists.
async fn listed(stack: &Stack, payload: Value) -> Vec<Value> {
    let response = stack.invoke("manage-sends", payload).await;
    response["messages"].as_array().unwrap_or_else(|| panic!("{response:#}")).clone()
}

fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["id"].as_str().unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
fn now() -> String {
    Timestamp::now().to_string()
}

async fn retry(stack: &Stack, payload: Value) -> Value {
    let mut command = json!({ "action": "retry" });
    command.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
    stack.invoke("manage-sends", command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_decides_the_outcome_of_parked_sends() {
    let stack = Setup::fast()
        .with("TWILIO_TIMEOUT_MS", "3000")
        .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "1")
        .with("UNKNOWN_PARK_AFTER_SECONDS", "2")
        .with("RECONCILE_GRACE_SECONDS", "0")
        .start()
        .await;
    // Twilio's lists are unavailable and all callbacks are lost.
    let error = json!({ "kind": "error", "code": 20003, "status": 403 });
    stack.set_fault(json!({ "match": { "operation": "list" }, "count": 0, "fault": error })).await;
    let (accepted, lost) = (fresh_handset(), fresh_handset());
    for (handset, accept) in [(&accepted, true), (&lost, false)] {
        let hang = json!({ "kind": "hang", "accept": accept });
        let silent = json!({ "mode": "lost" });
        stack.set_fault(json!({ "match": { "to": handset }, "fault": hang, "callbacks": silent })).await;
    }
    let sends = [stack.send_unique(&accepted, "Sent").await, stack.send_unique(&lost, "Not sent").await];
    let parked = "select count(*) from sms_messages where parked_at is not null";
    stack.sql().await.wait_for_count(parked, &[], 2).await;

    let waiting = listed(&stack, json!({ "action": "list", "status": "unknown" })).await;
    assert_eq!(ids(&waiting), [&sends[0].id, &sends[1].id]);
    assert!(waiting.iter().all(|message| message["parked_at"].is_string() && message["attempts"] == 1));
    // Only failed messages can be retried.
    let response = retry(&stack, json!({ "message_ids": [sends[0].id] })).await;
    assert_eq!(response["refused"][0]["reason"], "it has not failed", "{response}");

    let sid = stack.received_by(&accepted).await[0]["message_sid"].clone();
    let decide = async |decision: Value| stack.invoke("manage-sends", decision).await;
    let sent = json!({ "action": "decide", "message_id": sends[0].id, "was": "sent", "twilio_sid": sid });
    assert_eq!(decide(sent.clone()).await["status"], "queued");
    let again = decide(sent).await.to_string();
    assert!(again.contains("there is nothing to decide"), "{again}");
    let not_sent = json!({ "action": "decide", "message_id": sends[1].id, "was": "not_sent" });
    assert_eq!(decide(not_sent).await["status"], "pending");
    stack.wait_for_status(&sends[1].id, "delivered").await;

    // The lists are available again.
    let faults = format!("{}/simulator/faults", stack.info.twilio_api_url);
    send_request(request("DELETE", &faults)).await;
    stack.wait_for_status(&sends[0].id, "delivered").await;
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.creates, figures.receipts, figures.delivered), (3, 2, 2), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_retries_failed_sends_by_id_or_by_error_code_and_time() {
    let stack = Setup::fast().start().await;
    let failed = async |code: u32| -> AcceptedSend {
        let handset = fresh_handset();
        stack.set_fault_for(&handset, json!({ "kind": "error", "code": code })).await;
        let send = stack.send_unique(&handset, "Rejected at first").await;
        assert_eq!(stack.wait_for_status(&send.id, "failed").await["error_code"], code.to_string());
        send
    };
    let too_early = failed(30007).await;
    let since = now();
    let (one, other, opted_out) = (failed(30007).await, failed(30007).await, failed(30007).await);
    let of_another_code = failed(21612).await;
    let until = now();
    let too_late = failed(30007).await;
    let arrived = stack.send_unique(&fresh_handset(), "Delivered already").await;
    stack.wait_for_status(&arrived.id, "delivered").await;
    stack.send_from_handset(&opted_out.to, "BAJA").await;
    stack.wait_for_conversation(&opted_out.to, |page| page["opted_out"] == true).await;

    let of_the_code = json!({ "action": "list", "status": "failed", "error_code": "30007", "since": since,
        "until": until });
    assert_eq!(ids(&listed(&stack, of_the_code).await), [&one.id, &other.id, &opted_out.id]);
    let by_code = json!({ "error_code": "30007", "since": since, "until": until });
    let response = retry(&stack, by_code.clone()).await;
    assert_eq!(response["retried"], json!([one.id, other.id]), "{response}");
    let refused = json!([{ "message_id": opted_out.id, "reason": "its recipient has opted out" }]);
    assert_eq!(response["refused"], refused);
    let by_id = json!({ "message_ids": [too_late.id, arrived.id, of_another_code.id] });
    let response = retry(&stack, by_id).await;
    assert_eq!(response["retried"], json!([too_late.id, of_another_code.id]), "{response}");
    assert_eq!(response["refused"][0]["reason"], "it has not failed");

    let retried = [&one, &other, &too_late, &of_another_code];
    for send in retried {
        stack.wait_for_status(&send.id, "delivered").await;
    }
    // A second retry sends nothing.
    assert_eq!(retry(&stack, by_code).await["retried"], json!([]));
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let sends = [too_early, one, other, opted_out, of_another_code, too_late, arrived];
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.receipts, figures.delivered, figures.failed), (5, 5, 2), "{figures}");
    // Six creates were rejected and five were accepted.
    assert_eq!(figures.creates, 6 + 5, "{figures}");
}
