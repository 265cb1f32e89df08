//! A queued send that comes more than once: to several workers at once, in the middle of the call, after its success.

use aws_sdk_sqs::types::QueueAttributeName;
use common::queue::DispatchMessage;
use futures::future::join_all;
use serde_json::json;

use crate::client::fresh_handset;
use crate::oracle::{self, PATIENCE, QUIET};
use crate::stack::{Setup, eventually};

/// What failed or takes longer than a second is delivered again.
fn hasty() -> Setup {
    Setup::as_deployed()
        .edited("VisibilityTimeout: 60", "VisibilityTimeout: 1")
        .edited("VisibilityTimeout: 30", "VisibilityTimeout: 5")
        .with("SMS_SCHEDULE_SECONDS", "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_in_the_hands_of_several_workers_is_one_call_also_when_it_comes_again_in_the_middle_of_it() {
    let stack = hasty().edited("BatchSize: 10", "BatchSize: 1").start().await;
    let (handset, slow) = (fresh_handset(), fresh_handset());
    stack.arm_for(&slow, json!({ "kind": "slow", "ms": 3_000 })).await;
    let (mut holder, sql) = (stack.sql().await, stack.sql().await);
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute("lock table sms_send_attempts in share mode").await.unwrap();
    let intents =
        [stack.intend(&handset, "For one of many").await, stack.intend(&slow, "Takes its time").await];
    let client = stack.sqs(&stack.sqs_endpoint());
    let again = intents.iter().cycle().take(8).map(|intent| {
        let body = serde_json::to_string(&DispatchMessage::new(intent.id.parse().unwrap())).unwrap();
        client.send_message().queue_url(&stack.info.queues["OutboundQueue"]).message_body(body).send()
    });
    join_all(again).await.into_iter().for_each(|sent| drop(sent.unwrap()));
    let waiting = "select count(*) from pg_locks where not granted";
    eventually("several workers want them", async || {
        (stack.pids("send-outbound").len() > 1 && sql.count(waiting, &[]).await > 1).then_some(())
    })
    .await;
    lock.rollback().await.unwrap();

    for intent in &intents {
        stack.reaches(&intent.id, "delivered").await;
    }
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.creates, figures.receipts, figures.delivered), (2, 2, 2), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_redriven_from_the_dead_letter_queue_after_its_success_has_no_effect() {
    let stack = hasty().edited("maxReceiveCount: 10", "maxReceiveCount: 1").start().await;
    let handset = fresh_handset();
    stack.arm_for(&handset, json!({ "kind": "slow", "ms": 8_000 })).await;
    // Visible again after a second, received once already: it is a dead letter while its call is under way.
    let intent = stack.intend(&handset, "Dead and well").await;
    stack.queues_hold(&[("OutboundDeadLetterQueue", 1)]).await;
    stack.reaches(&intent.id, "delivered").await;
    stack.becomes(&intent.id, "settled", |message| message["attempts"][0]["outcome"] == "accepted").await;

    let client = stack.sqs(&stack.sqs_endpoint());
    let dead_letters = &stack.info.queues["OutboundDeadLetterQueue"];
    let attributes = client.get_queue_attributes().queue_url(dead_letters);
    let attributes = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
    let arn = &attributes.attributes().unwrap()[&QueueAttributeName::QueueArn];
    client.start_message_move_task().source_arn(arn).send().await.unwrap();
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &[intent], QUIET).await;
    assert_eq!((figures.creates, figures.receipts, figures.delivered), (1, 1, 1), "{figures}");
}
