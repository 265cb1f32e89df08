//! Outages of SQS, Postgres or both. Accepted requests are processed once after the outage.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid, send_request};
use crate::services::{Database, Queues};
use crate::stack::{Setup, Stack, eventually};

const SPOOLED: &str = "select count(*) from webhook_spool";

/// A stack with external queues. The longer timeout leaves time for the spool on a busy machine.
fn with_external_queues(queues: &Queues) -> Setup {
    Setup::fast().with("AWS_ENDPOINT_URL_SQS", &queues.url()).with("DATABASE_CONNECT_TIMEOUT_MS", "5000")
}

/// Delivers webhooks of messages from `handset`, all of which must be accepted.
async fn deliver_messages(stack: &Stack, handset: &str, count: usize) {
    let webhooks: Vec<_> =
        (0..count).map(|n| stack.inbound_webhook(handset, &fresh_sid(), &format!("text {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.deliver_webhook(webhook))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_and_sends_accepted_during_an_sqs_outage_are_processed_once_afterwards() {
    let mut queues = Queues::start().await;
    let stack = with_external_queues(&queues).start().await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    deliver_messages(&stack, &handset, 1).await;
    let sql = stack.sql().await;
    sql.wait_for_count(INBOUND_OF, &[&handset], 1).await;

    queues.disconnect().await;
    deliver_messages(&stack, &handset, 20).await;
    let callback = stack.status_callback(&fresh_sid(), "sent", None);
    stack.deliver_webhook(&callback).await;
    assert_eq!(sql.count(SPOOLED, &[]).await, 21);
    let id = stack.send(&recipient, "Sent during an SQS outage").await;
    stack.wait_for_sweeps(1).await;
    assert_eq!(sql.count(SPOOLED, &[]).await, 21, "a sweep must not remove webhooks that it cannot publish");
    assert_eq!(stack.received_by(&recipient).await.len(), 0);

    queues.reconnect().await;
    sql.wait_for_count(INBOUND_OF, &[&handset], 21).await;
    sql.wait_for_count(SPOOLED, &[], 0).await;
    stack.wait_for_status(&id, "delivered").await;
    stack.wait_for_empty_queues().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 21);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 21);
    let orphans = "select count(*) from sms_message_status_events where message_id is null";
    assert_eq!(sql.count(orphans, &[]).await, 1, "the callback for an unknown SID must be recorded");
    assert_eq!(stack.received_by(&recipient).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_both_queued_and_spooled_is_stored_once() {
    let queues = Queues::start().await;
    let stack = with_external_queues(&queues).start().await;
    let handset = fresh_handset();
    deliver_messages(&stack, &handset, 1).await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
    queues.stall(true);
    deliver_messages(&stack, &handset, 5).await;
    let sql = stack.sql().await;
    assert_eq!(sql.count(SPOOLED, &[]).await, 5);
    queues.stall(false);
    sql.wait_for_count(INBOUND_OF, &[&handset], 6).await;
    sql.wait_for_count(SPOOLED, &[], 0).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 6);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_created_again_after_the_sqs_server_has_lost_them() {
    let mut queues = Queues::start().await;
    let stack = with_external_queues(&queues).start().await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    queues.disconnect().await;
    deliver_messages(&stack, &handset, 3).await;
    let id = stack.send(&recipient, "Sent before the queues are created again").await;
    queues.reconnect_without_queues(stack.info.queues.values()).await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 3).await;
    stack.wait_for_status(&id, "delivered").await;
    deliver_messages(&stack, &handset, 1).await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 4).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.queue_sizes().await.len(), 0);
    assert_eq!(stack.received_by(&recipient).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_rejected_because_postgres_timed_out_is_not_sent_later() {
    let database = Database::start().await;
    let stack = Setup::fast()
        .edited("ReauthorizeEvery: 2", "ReauthorizeEvery: 3600")
        .edited("maxReceiveCount: 10", "maxReceiveCount: 1000")
        .with("DATABASE_URL", &database.url())
        // Sends wait for a stalled Postgres until this budget is used up.
        .with("DATABASE_BUDGET_MS", "1500")
        // Without Postgres there is no spool, so allow the queue more time on a busy machine.
        .with("SQS_SEND_BUDGET_MS", "8000")
        .start()
        .await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    let id = stack.send(&recipient, "Before").await;
    stack.wait_for_status(&id, "delivered").await;

    database.stall(true);
    deliver_messages(&stack, &handset, 5).await;
    rejects_sends(&stack, &recipient).await;
    assert!(!stack.queue_sizes().await.contains_key("OutboundQueue"), "a rejected send must not be queued");
    database.stall(false);
    stack.wait_for_conversation(&handset, |page| page["total"] == 5).await;
    stack.wait_for_sweeps(2).await;
    stack.wait_for_empty_queues().await;
    let sql = stack.sql().await;
    let sends = "select count(*) from sms_messages where direction = 'outbound' and to_number = $1";
    assert_eq!(sql.count(sends, &[&recipient]).await, 1, "a rejected send must not be stored later");
    assert_eq!(stack.received_by(&recipient).await.len(), 1);
}

/// Sends until a rejection arrives in time, because a busy machine may delay some responses.
async fn rejects_sends(stack: &Stack, recipient: &str) {
    let body = json!({ "to": recipient, "body": "Sent during a Postgres outage" });
    eventually("a send is rejected in time", async || {
        let begun = Instant::now();
        let response = send_request(stack.api_request("POST", "/sms/send").json(&body)).await;
        assert_eq!((response.status, response.code().as_str()), (503, "sms.unavailable"), "{response:?}");
        (begun.elapsed() < Duration::from_secs(2)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_postgres_outage_webhooks_are_accepted_and_sends_rejected() {
    let mut database = Database::start().await;
    // The authorizer's cache must last longer than the outage.
    let stack = Setup::fast()
        .edited("ReauthorizeEvery: 2", "ReauthorizeEvery: 3600")
        .with("DATABASE_URL", &database.url())
        // Without Postgres there is no spool, so allow the queue more time on a busy machine.
        .with("SQS_SEND_BUDGET_MS", "8000")
        .start()
        .await;
    let (handset, recipient) = (fresh_handset(), fresh_handset());
    deliver_messages(&stack, &handset, 1).await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
    assert_eq!(stack.try_send("+1", "invalid").await.status, 400, "the gateway must have cached the key");
    let made = stack.command(&["key", "--scopes", "messages:send"]);
    let uncached_key = String::from_utf8(made.stdout).unwrap().trim().to_owned();

    database.crash().await;
    // The authorizer cannot verify a key that is not cached. The response is the same.
    let body = json!({ "to": recipient, "body": "Sent during a Postgres outage" });
    let response = send_request(stack.api_request_with(&uncached_key, "POST", "/sms/send").json(&body)).await;
    assert_eq!((response.status, response.code().as_str()), (503, "sms.unavailable"), "{response:?}");
    deliver_messages(&stack, &handset, 30).await;
    rejects_sends(&stack, &recipient).await;
    assert!(!stack.queue_sizes().await.contains_key("OutboundQueue"), "a rejected send must not be queued");
    let read = send_request(stack.api_request("GET", &format!("/conversations/{handset}"))).await;
    assert_eq!((read.status, read.code().as_str()), (503, "sms.unavailable"), "{read:?}");

    database.restart().await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 31).await;
    stack.wait_for_empty_queues().await;
    let sql = stack.sql().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 31);
    let sends = "select count(*) from sms_messages where direction = 'outbound'";
    assert_eq!(sql.count(sends, &[]).await, 0);
    assert_eq!(stack.received_by(&recipient).await.len(), 0);
    // The gateway may have cached that the key could not be verified.
    let key = fresh_sid();
    let call = || stack.api_request_with(&uncached_key, "POST", "/sms/send").header("idempotency-key", &key);
    let response = stack.response_to(|| call().json(&body)).await;
    assert_eq!(response.status, 202, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_outage_of_sqs_and_postgres_webhooks_return_503_and_twilio_retries() {
    let (mut queues, mut database) = (Queues::start().await, Database::start().await);
    let stack = Setup::fast()
        .with("AWS_ENDPOINT_URL_SQS", &queues.url())
        .with("DATABASE_URL", &database.url())
        .start()
        .await;
    let handset = fresh_handset();
    let webhook = stack.inbound_webhook(&handset, &fresh_sid(), "During an outage");
    let callback = stack.status_callback(&fresh_sid(), "delivered", None);
    queues.disconnect().await;
    database.crash().await;
    for refused in [&webhook, &callback] {
        let response = stack.post_webhook(refused).await;
        assert_eq!((response.status, response.code().as_str()), (503, "sms.unavailable"), "{response:?}");
        assert!(response.request_id.is_some());
        for internal in ["127.0.0.1", "refused", "sqs", "postgres", "error sending"] {
            assert!(
                !response.text.to_lowercase().contains(internal),
                "the response reveals {internal:?}: {response:?}"
            );
        }
    }
    database.restart().await;
    queues.reconnect().await;
    stack.deliver_webhook(&webhook).await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
    stack.wait_for_empty_queues().await;
}
