//! A sender's daily limit.

use crate::client::fresh_handset;
use crate::stack::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_daily_limit_is_delivered_on_the_next_day() {
    let stack = Setup::fast().with("SENDER_SEGMENTS_PER_DAY", "1").start().await;
    let handset = fresh_handset();
    let first = stack.send(&handset, "Within the limit").await;
    stack.wait_for_status(&first, "delivered").await;
    let second = stack.send(&handset, "Beyond the limit").await;
    let sql = stack.sql().await;
    let full = "select count(*) from sms_senders where day_full_until = day_ends_at";
    sql.wait_for_count(full, &[], 1).await;
    stack.wait_for_sweeps(2).await;
    let waiting = stack.message(&second).await;
    assert_eq!(waiting["delivery_status"], "pending", "{waiting:#}");
    assert_eq!(waiting["attempts"].as_array().unwrap().len(), 0);
    assert!(waiting["next_attempt_at"].as_str() > waiting["created_at"].as_str(), "{waiting:#}");
    assert_eq!(stack.received_by(&handset).await.len(), 1);

    // The day is over: a sweep wakes the sender.
    let over = "update sms_senders set day_ends_at = now(), day_full_until = now()";
    sql.client.batch_execute(over).await.unwrap();
    stack.wait_for_status(&second, "delivered").await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&handset).await.len(), 2);
}
