//! Functions that are killed in the middle of their work.

use futures::future::join_all;
use serde_json::json;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid};
use crate::stack::{Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_worker_is_killed_while_it_writes_is_stored_once() {
    let stack = Setup::impatient().start().await;
    let handset = fresh_handset();
    let mut holder = stack.sql().await;
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute("lock table sms_messages in access exclusive mode").await.unwrap();
    let webhooks: Vec<_> =
        (0..10).map(|n| stack.incoming(&handset, &fresh_sid(), &format!("text {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.accepts(webhook))).await;
    let sql = stack.sql().await;
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%sms_messages%'";
    eventually("a worker waits for the table", async || (sql.count(waiting, &[]).await > 0).then_some(()))
        .await;
    stack.kill("record-inbound").await;
    lock.rollback().await.unwrap();

    stack.conversation_where(&handset, |page| page["total"] == 10).await;
    stack.queues_are_empty().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 10);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_worker_is_killed_while_twilio_works_is_never_sent_again() {
    let stack = Setup::impatient().with("SEND_CLAIM_TIMEOUT_SECONDS", "2").start().await;
    let (taken, lost) = (fresh_handset(), fresh_handset());
    // Twilio takes one of them and not the other; neither call is answered.
    stack.arm_for(&taken, json!({ "kind": "hang", "accept": true })).await;
    stack.arm_for(&lost, json!({ "kind": "hang", "accept": false })).await;
    let (taken_id, lost_id) =
        (stack.send(&taken, "Taken by Twilio").await, stack.send(&lost, "Not taken").await);
    for handset in [&taken, &lost] {
        eventually("Twilio has it", async || (stack.creates(handset).await == 1).then_some(())).await;
    }
    stack.kill("send-outbound").await;

    // Its callback carries our id, and tells.
    stack.reaches(&taken_id, "delivered").await;
    let unknown = stack.reaches(&lost_id, "unknown").await;
    assert_eq!(unknown["attempts"].as_array().unwrap().len(), 1);
    stack.sweeps(3).await;
    stack.queues_are_empty().await;
    assert_eq!(stack.message(&lost_id).await["delivery_status"], "unknown");
    assert_eq!((stack.ledger(&taken).await.len(), stack.ledger(&lost).await.len()), (1, 0));
}
