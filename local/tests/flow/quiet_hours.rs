//! Quiet hours in the recipient's time zone.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::client::fresh_handset;
use crate::stack::{Setup, Stack};

/// Sends a message with one more field.
async fn send(stack: &Stack, to: &str, body: &str, field: &str, value: &str) -> String {
    let payload = json!({ "to": to, "body": body, field: value });
    let response = stack.post_send(&payload).await;
    assert_eq!(response.status, 202, "{response:?}");
    response.json()["id"].as_str().unwrap().to_owned()
}

/// Starts a stack with quiet hours between two times, given in hours from now in UTC.
async fn start(from: i64, to: i64) -> Stack {
    #[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
    let now = Timestamp::now();
    let hour = |hours: i64| (now + SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    Setup::fast().with("QUIET_HOURS", &format!("{}-{}", hour(from), hour(to))).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_delay_messages_that_are_neither_urgent_nor_emergencies() {
    // The handsets' time zone, Washington, is four or five hours behind UTC.
    let stack = start(-7, -2).await;
    let (sleeper, alarmed) = (fresh_handset(), fresh_handset());
    let quiet = stack.send(&sleeper, "Good night").await;
    let urgent = send(&stack, &alarmed, "The pipe has burst", "priority", "urgent").await;
    let emergency = send(&stack, &alarmed, "Leave the house", "purpose", "emergency").await;
    stack.wait_for_status(&urgent, "delivered").await;
    stack.wait_for_status(&emergency, "delivered").await;
    stack.wait_for_sweeps(2).await;
    stack.wait_for_empty_queues().await;
    let message = stack.message(&quiet).await;
    assert_eq!((&message["delivery_status"], &message["attempts"]), (&"pending".into(), &json!([])));
    assert_eq!(stack.received_by(&sleeper).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_time_zone_reschedules_messages_that_wait_for_quiet_hours() {
    // Quiet hours in UTC, but not in Washington.
    let stack = start(-1, 2).await;
    let handset = fresh_handset();
    let patch = async |changes: Value| {
        let path = format!("/conversations/{}", handset.trim_start_matches("+1"));
        let response = stack.response("PATCH", &path, Some(&changes)).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    };
    stack.send_from_handset(&handset, "I am travelling").await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
    patch(json!({ "time_zone": "etc/utc", "workflow_type": "leasing" })).await;
    let id = stack.send(&handset, "Sleep well").await;
    let sql = stack.sql().await;
    sql.wait_for_count("select count(*) from sms_messages where quiet_until > now()", &[], 1).await;
    stack.wait_for_sweeps(2).await;
    assert_eq!(stack.message(&id).await["attempts"], json!([]));

    let changed = patch(json!({ "time_zone": null })).await;
    stack.wait_for_status(&id, "delivered").await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&handset).await.len(), 1);
    // The conversation shows the same values as the response of the update.
    let page = stack.conversation(&handset).await.unwrap();
    for (field, value) in changed.as_object().unwrap() {
        if field != "last_message_at" {
            assert_eq!(&page[field], value, "{field}");
        }
    }
    assert_eq!((&page["workflow_type"], &page["time_zone"]), (&json!("leasing"), &Value::Null));
    let unknown = stack.response("PATCH", "/conversations/+12025550000", Some(&json!({}))).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "sms.not_found"));
}
