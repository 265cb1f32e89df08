//! Recipients who are asleep, as far as we know where they are.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack};

async fn send(stack: &Stack, to: &str, body: &str, priority: &str) -> String {
    let ask = json!({ "to": to, "body": body, "priority": priority });
    let answer = stack.ask(&ask).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// A stack with quiet hours from so many hours from now to so many, in UTC.
async fn quiet(from: i64, to: i64) -> Stack {
    #[expect(clippy::disallowed_methods, reason = "a test needs no clock of the service's")]
    let now = Timestamp::now();
    let hour = |hours: i64| (now + SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    Setup::impatient().with("QUIET_HOURS", &format!("{}-{}", hour(from), hour(to))).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_back_what_is_not_urgent() {
    // Washington is four or five hours behind.
    let stack = quiet(-7, -2).await;
    let (sleeper, alarmed) = (fresh_handset(), fresh_handset());
    let quiet = stack.send(&sleeper, "Good night").await;
    let urgent = send(&stack, &alarmed, "The pipe has burst", "urgent").await;
    stack.reaches(&urgent, "delivered").await;
    stack.sweeps(2).await;
    stack.queues_are_empty().await;
    let message = stack.message(&quiet).await;
    assert_eq!((&message["delivery_status"], &message["attempts"]), (&"pending".into(), &json!([])));
    assert_eq!(stack.ledger(&sleeper).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_zone_that_a_router_sets_moves_what_waits_for_the_morning() {
    // Quiet in Greenwich, and neither in Washington nor anywhere near.
    let stack = quiet(-1, 2).await;
    let handset = fresh_handset();
    let patch = async |changes: Value| {
        let path = format!("/conversations/{}", handset.trim_start_matches("+1"));
        let answer = stack.answer("PATCH", &path, Some(&changes)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    stack.text(&handset, "I am travelling").await;
    stack.conversation_where(&handset, |page| page["total"] == 1).await;
    patch(json!({ "time_zone": "etc/utc", "workflow_type": "leasing" })).await;
    let id = stack.send(&handset, "Sleep well").await;
    let sql = stack.sql().await;
    sql.reaches("select count(*) from sms_messages where quiet_until > now()", &[], 1).await;
    stack.sweeps(2).await;
    assert_eq!(stack.message(&id).await["attempts"], json!([]));

    let changed = patch(json!({ "time_zone": null })).await;
    stack.reaches(&id, "delivered").await;
    stack.queues_are_empty().await;
    assert_eq!(stack.ledger(&handset).await.len(), 1);
    // Everybody sees what was set, in the same words.
    let page = stack.conversation(&handset).await.unwrap();
    for (field, value) in changed.as_object().unwrap() {
        if field != "last_message_at" {
            assert_eq!(&page[field], value, "{field}");
        }
    }
    assert_eq!((&page["workflow_type"], &page["time_zone"]), (&json!("leasing"), &Value::Null));
    let nobody = stack.answer("PATCH", "/conversations/+12025550000", Some(&json!({}))).await;
    assert_eq!((nobody.status, nobody.code().as_str()), (404, "sms.not_found"));
}
