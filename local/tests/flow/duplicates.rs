//! Concurrent duplicates create one row and one conversation.

use futures::future::join_all;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid};
use crate::stack::{eventually, shared};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_copies_of_a_webhook_create_one_message() {
    let stack = shared().await;
    let handset = fresh_handset();
    let webhook = stack.inbound_webhook(&handset, &fresh_sid(), "My key is stuck");
    // A busy machine may reject some of them. Retry like Twilio.
    join_all((0..100).map(async |_| {
        let accepted = async || (stack.post_webhook(&webhook).await.status == 200).then_some(());
        eventually("the webhook is accepted", accepted).await;
    }))
    .await;
    let sql = stack.sql().await;
    sql.wait_for_count(INBOUND_OF, &[&handset], 1).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 1);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_concurrent_first_messages_create_one_conversation() {
    let stack = shared().await;
    let handset = fresh_handset();
    let webhooks: Vec<_> =
        (0..10).map(|n| stack.inbound_webhook(&handset, &fresh_sid(), &format!("message {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.deliver_webhook(webhook))).await;
    let conversation = stack.wait_for_conversation(&handset, |page| page["total"] == 10).await;
    assert_eq!(conversation["messages"].as_array().unwrap().len(), 10);
    let sql = stack.sql().await;
    let conversations = "select count(*) from sms_conversations where phone_number_canonical = $1";
    assert_eq!(sql.count(conversations, &[&handset]).await, 1);
    stack.wait_for_empty_queues().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 10);
}
