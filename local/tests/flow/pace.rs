//! A sender's pace, and what goes first.

use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::Setup;

/// Messages of the bulk: at ten segments a second they take the better part of a minute.
const BULK: usize = 300;
/// Those who ask for it at the same time.
const CALLERS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_keeps_to_its_senders_pace_and_a_reply_overtakes_it() {
    let stack = Setup::impatient()
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
    // In the middle of it a tenant gets an answer.
    let urgent = json!({ "to": fresh_handset(), "body": "Somebody is on the way", "priority": "urgent" });
    let answer = stack.ask(&urgent).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    stack.becomes(&id, "handed over", |message| message["twilio_sid"].is_string()).await;
    let handed_over =
        "select count(*) from sms_messages where priority = 'bulk' and delivery_status <> 'pending'";
    let so_far = sql.count(handed_over, &[]).await;
    let allowed = 20.0 + 10.0 * begun.elapsed().as_secs_f64();
    assert!(so_far as f64 <= allowed, "{so_far} of the bulk are gone, {allowed:.0} were allowed");
    assert!(so_far < BULK as i64, "the bulk is still under way");
    sql.reaches(handed_over, &[], BULK as i64).await;
    assert!(begun.elapsed().as_secs_f64() >= (BULK as f64 - 20.0) / 10.0, "{:?}", begun.elapsed());
    // Twilio takes its own time with what it has.
    let arrived =
        "select count(*) from sms_messages where priority = 'bulk' and delivery_status = 'delivered'";
    sql.reaches(arrived, &[], BULK as i64).await;
    stack.queues_are_empty().await;
    assert_eq!(stack.ledger(&bulk).await.len(), BULK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_error_holds_everything_until_it_is_mended_and_loses_nothing() {
    let stack = Setup::impatient().with("SENDER_HOLD_SECONDS", "2").start().await;
    let handset = fresh_handset();
    // Three calls are refused, and then it is mended.
    stack
        .arm(json!({ "match": { "to": handset }, "count": 3, "fault": { "kind": "error", "code": 21606 } }))
        .await;
    let first = stack.send(&handset, "Refused at first").await;
    stack.becomes(&first, "refused", |message| message["attempts"][0]["outcome"] == "not_processed").await;
    let behind = join_all((0..20).map(|number| {
        let (stack, handset) = (&stack, &handset);
        async move { stack.send(handset, &format!("Behind it {number}")).await }
    }))
    .await;
    stack.reaches(&first, "delivered").await;
    let attempts = |message: &Value| message["attempts"].as_array().unwrap().len();
    for id in behind {
        let message = stack.reaches(&id, "delivered").await;
        assert_eq!(attempts(&message), 1, "it was not tried while it was held: {message:#}");
    }
    assert_eq!(attempts(&stack.message(&first).await), 4);
    stack.queues_are_empty().await;
    assert_eq!(stack.ledger(&handset).await.len(), 21);
}
