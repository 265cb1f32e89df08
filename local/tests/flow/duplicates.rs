//! The same at the same time: one row, one conversation.

use futures::future::join_all;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid};
use crate::stack::{eventually, shared};

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_a_hundred_times_at_once_is_one_message() {
    let stack = shared().await;
    let handset = fresh_handset();
    let webhook = stack.incoming(&handset, &fresh_sid(), "My key is stuck");
    // Twilio comes again where so many at once are too much for a busy machine.
    join_all((0..100).map(async |_| {
        let accepted = async || (stack.post(&webhook).await.status == 200).then_some(());
        eventually("it is accepted", accepted).await;
    }))
    .await;
    let sql = stack.sql().await;
    sql.reaches(INBOUND_OF, &[&handset], 1).await;
    stack.queues_are_empty().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 1);
    assert_eq!(stack.conversation(&handset).await.unwrap()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_first_messages_at_once_make_one_conversation() {
    let stack = shared().await;
    let handset = fresh_handset();
    let webhooks: Vec<_> =
        (0..10).map(|n| stack.incoming(&handset, &fresh_sid(), &format!("message {n}"))).collect();
    join_all(webhooks.iter().map(|webhook| stack.accepts(webhook))).await;
    let conversation = stack.conversation_where(&handset, |page| page["total"] == 10).await;
    assert_eq!(conversation["messages"].as_array().unwrap().len(), 10);
    let sql = stack.sql().await;
    let conversations = "select count(*) from sms_conversations where phone_number_canonical = $1";
    assert_eq!(sql.count(conversations, &[&handset]).await, 1);
    stack.queues_are_empty().await;
    assert_eq!(sql.count(INBOUND_OF, &[&handset]).await, 10);
}
