//! A sender's rate limit and message priorities.

use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::Setup;

/// The number of bulk messages. At ten segments per second they take half a minute.
const BULK: usize = 300;
/// The number of concurrent API callers.
const CALLERS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn bulk_messages_respect_the_rate_limit_and_urgent_messages_go_first() {
    let stack = Setup::fast()
        .with("SENDER_SEGMENTS_PER_SECOND", "10")
        .with("SENDER_BURST_SEGMENTS", "20")
        .start()
        .await;
    let bulk = fresh_handset();
    let callers = (0..CALLERS).map(async |caller| {
        for number in 0..BULK / CALLERS {
            stack.send_in_an_hour(&bulk, &format!("Notice {caller}-{number}")).await;
        }
    });
    join_all(callers).await;
    let (sql, begun) = (stack.sql().await, Instant::now());
    let due = "update sms_messages set priority = 'bulk', next_attempt_at = now(), send_at = now()";
    sql.client.batch_execute(due).await.unwrap();
    // An urgent message while the bulk messages are being sent.
    let urgent = json!({ "to": fresh_handset(), "body": "The plumber is on the way", "priority": "urgent" });
    let response = stack.post_send(&urgent).await;
    let id = response.json()["id"].as_str().unwrap().to_owned();
    stack.wait_for_message(&id, "has a SID", |message| message["twilio_sid"].is_string()).await;
    let sent = "select count(*) from sms_messages where priority = 'bulk' and delivery_status <> 'pending'";
    let so_far = sql.count(sent, &[]).await;
    let allowed = 20.0 + 10.0 * begun.elapsed().as_secs_f64();
    assert!(so_far as f64 <= allowed, "{so_far} bulk messages were sent, but only {allowed:.0} were allowed");
    assert!(so_far < BULK as i64, "the urgent message must be sent before the last bulk message");
    sql.wait_for_count(sent, &[], BULK as i64).await;
    assert!(begun.elapsed().as_secs_f64() >= (BULK as f64 - 20.0) / 10.0, "{:?}", begun.elapsed());
    // Twilio delivers them at its own rate.
    let delivered =
        "select count(*) from sms_messages where priority = 'bulk' and delivery_status = 'delivered'";
    sql.wait_for_count(delivered, &[], BULK as i64).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&bulk).await.len(), BULK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_error_holds_the_sender_until_it_is_fixed() {
    let stack = Setup::fast().with("SENDER_HOLD_SECONDS", "2").start().await;
    let handset = fresh_handset();
    // Three calls fail. Then the error is fixed.
    stack
        .set_fault(
            json!({ "match": { "to": handset }, "count": 3, "fault": { "kind": "error", "code": 21606 } }),
        )
        .await;
    let first = stack.send(&handset, "Rejected at first").await;
    stack
        .wait_for_message(&first, "has an attempt", |message| {
            message["attempts"][0]["outcome"] == "not_processed"
        })
        .await;
    let behind = join_all((0..20).map(|number| {
        let (stack, handset) = (&stack, &handset);
        async move { stack.send(handset, &format!("Queued behind it {number}")).await }
    }))
    .await;
    stack.wait_for_status(&first, "delivered").await;
    let attempts = |message: &Value| message["attempts"].as_array().unwrap().len();
    for id in behind {
        let message = stack.wait_for_status(&id, "delivered").await;
        assert_eq!(attempts(&message), 1, "a held message must not be attempted: {message:#}");
    }
    assert_eq!(attempts(&stack.message(&first).await), 4);
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&handset).await.len(), 21);
}
