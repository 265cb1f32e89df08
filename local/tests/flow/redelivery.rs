//! Redelivery of a queued send: concurrently, during the create call, and after success.

use aws_sdk_sqs::types::QueueAttributeName;
use common::queue::DispatchMessage;
use futures::future::join_all;
use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, DEADLINE, IDLE};
use crate::stack::{Setup, eventually};

/// Queue messages that take longer than a second are redelivered.
fn with_short_visibility_timeout() -> Setup {
    Setup::as_deployed()
        .edited("VisibilityTimeout: 60", "VisibilityTimeout: 1")
        .edited("VisibilityTimeout: 30", "VisibilityTimeout: 5")
        .with("SMS_SCHEDULE_SECONDS", "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_and_repeated_deliveries_of_a_send_make_one_create_call() {
    let stack = with_short_visibility_timeout().edited("BatchSize: 10", "BatchSize: 1").start().await;
    let (handset, slow) = (fresh_handset(), fresh_handset());
    stack.set_fault_for(&slow, json!({ "kind": "slow", "ms": 3_000 })).await;
    let (mut holder, sql) = (stack.sql().await, stack.sql().await);
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute("lock table sms_send_attempts in share mode").await.unwrap();
    let sends =
        [stack.send_unique(&handset, "For several workers").await, stack.send_unique(&slow, "Slow").await];
    let client = stack.sqs(&stack.sqs_endpoint());
    let again = sends.iter().cycle().take(8).map(|send| {
        let body = serde_json::to_string(&DispatchMessage::new(send.id.parse().unwrap(), None)).unwrap();
        client.send_message().queue_url(&stack.info.queues["OutboundQueue"]).message_body(body).send()
    });
    join_all(again).await.into_iter().for_each(|sent| drop(sent.unwrap()));
    let waiting = "select count(*) from pg_locks where not granted";
    eventually("several workers wait for the lock", async || {
        (stack.pids("send-outbound").len() > 1 && sql.count(waiting, &[]).await > 1).then_some(())
    })
    .await;
    lock.rollback().await.unwrap();

    for send in &sends {
        stack.wait_for_status(&send.id, "delivered").await;
    }
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.creates, figures.receipts, figures.delivered), (2, 2, 2), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redriving_a_successful_send_from_the_dead_letter_queue_has_no_effect() {
    let stack =
        with_short_visibility_timeout().edited("maxReceiveCount: 10", "maxReceiveCount: 1").start().await;
    let handset = fresh_handset();
    stack.set_fault_for(&handset, json!({ "kind": "slow", "ms": 8_000 })).await;
    // After a second, the message goes to the dead-letter queue while its create call is still running.
    let send = stack.send_unique(&handset, "Dead-lettered and delivered").await;
    stack.wait_for_queues(&[("OutboundDeadLetterQueue", 1)]).await;
    stack.wait_for_status(&send.id, "delivered").await;
    stack
        .wait_for_message(&send.id, "is accepted", |message| message["attempts"][0]["outcome"] == "accepted")
        .await;

    let client = stack.sqs(&stack.sqs_endpoint());
    let dead_letters = &stack.info.queues["OutboundDeadLetterQueue"];
    let attributes = client.get_queue_attributes().queue_url(dead_letters);
    let attributes = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
    let arn = &attributes.attributes().unwrap()[&QueueAttributeName::QueueArn];
    client.start_message_move_task().source_arn(arn).send().await.unwrap();
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &[send], IDLE).await;
    assert_eq!((figures.creates, figures.receipts, figures.delivered), (1, 1, 1), "{figures}");
}
