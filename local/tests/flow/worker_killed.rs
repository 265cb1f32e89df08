//! Functions that are killed while they process a batch.

use futures::future::join_all;
use serde_json::json;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid};
use crate::stack::{Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_once_if_the_worker_is_killed_while_writing() {
    let stack = Setup::fast().start().await;
    let handset = fresh_handset();
    let mut holder = stack.sql().await;
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute("lock table sms_messages in access exclusive mode").await.unwrap();
    let webhooks: Vec<_> =
        (0..10).map(|n| stack.inbound_webhook(&handset, &fresh_sid(), &format!("text {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.deliver_webhook(webhook))).await;
    let sql = stack.sql().await;
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
        and query ilike '%sms_messages%'";
    eventually("a worker waits for the table", async || (sql.count(waiting, &[]).await > 0).then_some(()))
        .await;
    stack.kill("record-inbound").await;
    lock.rollback().await.unwrap();

    stack.wait_for_conversation(&handset, |page| page["total"] == 10).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 10);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_not_repeated_if_the_worker_is_killed_during_the_call() {
    let stack = Setup::fast().with("SEND_CLAIM_TIMEOUT_SECONDS", "2").start().await;
    let (accepted, lost) = (fresh_handset(), fresh_handset());
    // Twilio accepts one of them. Neither call gets a response.
    stack.set_fault_for(&accepted, json!({ "kind": "hang", "accept": true })).await;
    stack.set_fault_for(&lost, json!({ "kind": "hang", "accept": false })).await;
    let (accepted_id, lost_id) =
        (stack.send(&accepted, "Accepted by Twilio").await, stack.send(&lost, "Not accepted").await);
    for handset in [&accepted, &lost] {
        eventually("Twilio has the request", async || {
            (stack.count_creates(handset).await == 1).then_some(())
        })
        .await;
    }
    stack.kill("send-outbound").await;

    // The callback URL contains the message ID.
    stack.wait_for_status(&accepted_id, "delivered").await;
    let unknown = stack.wait_for_status(&lost_id, "unknown").await;
    assert_eq!(unknown["attempts"].as_array().unwrap().len(), 1);
    stack.wait_for_sweeps(3).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.message(&lost_id).await["delivery_status"], "unknown");
    assert_eq!((stack.received_by(&accepted).await.len(), stack.received_by(&lost).await.len()), (1, 0));
}
