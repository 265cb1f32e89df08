//! The limits of an API key per minute, and of a recipient in 24 hours.

use super::{TENANT, World, bulk, errors};
use serde_json::{Value, json};
use testing::{body, refusal};

const USED: &str = "select coalesce(sum(used), 0) from sms_key_usage";

fn key_limit(messages: u32) -> (&'static str, String) {
    ("API_KEY_MESSAGES_PER_MINUTE", messages.to_string())
}

fn recipient_limit(messages: u32) -> (&'static str, String) {
    ("RECIPIENT_MESSAGES_PER_DAY", messages.to_string())
}

/// Returns a request with messages to different recipients.
fn messages(count: usize) -> Value {
    let messages: Vec<Value> =
        (0..count).map(|i| json!({"to": format!("+1203555{i:04}"), "body": "x"})).collect();
    json!({ "messages": messages })
}

#[tokio::test]
async fn a_request_that_exceeds_the_limit_of_the_key_is_refused_as_a_whole() {
    let mut world = World::with(&[key_limit(1000)]).await;
    let reply = world.send(&messages(400)).await;
    assert_eq!(reply["statusCode"], 202, "{reply}");
    assert_eq!(reply["headers"]["ratelimit-policy"], "\"key\";q=1000;w=60");
    let rest = reply["headers"]["ratelimit"].as_str().unwrap();
    assert!(rest.starts_with("\"key\";r=600;t="), "{rest}");

    let reply = world.send(&messages(1000)).await;
    assert_eq!(refusal(&reply), "429 sms.rate_limited");
    let seconds: u64 = reply["headers"]["retry-after"].as_str().unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{seconds}");
    let rest = reply["headers"]["ratelimit"].as_str().unwrap();
    // Some of the first messages may have left the window.
    assert!(rest.starts_with("\"key\";r=") && rest.ends_with(&format!(";t={seconds}")), "{rest}");
    assert_eq!([world.rows("sms_messages").await, world.rows("sms_batches").await], ["400", "1"]);
    assert_eq!(world.database.scalar(USED).await, "400");

    world.accepted(&messages(600)).await;
    assert_eq!(refusal(&world.send(&messages(1000)).await), "429 sms.rate_limited");
    let past = "update sms_key_usage set minute = minute - interval '2 minutes'";
    world.database.client.batch_execute(past).await.unwrap();
    assert_eq!(world.accepted(&messages(1000)).await["accepted"], 1000);
}

#[tokio::test]
async fn a_request_that_is_larger_than_the_limit_of_the_key_is_not_valid() {
    let mut world = World::with(&[key_limit(2)]).await;
    let reason = "has 3 entries; 2 messages per minute are allowed for an API key";
    assert_eq!(world.refused(&messages(3)).await, format!("400 sms.validation_error\n  messages: {reason}"));
    let recipients = json!({"texts": {"en": "x"}, "recipients": [{"to": "1"}, {"to": "2"}, {"to": "3"}]});
    assert_eq!(world.refused(&recipients).await, format!("400 sms.validation_error\n  recipients: {reason}"));
    assert_eq!(world.rows("sms_key_usage").await, "0");
    world.accepted(&messages(2)).await;
}

#[tokio::test]
async fn only_messages_that_can_be_stored_are_counted() {
    let mut world = World::with(&[key_limit(10)]).await;
    world.conversation("+12035550129", ", opted_out_at", ", now()").await;
    world
        .accepted(&json!({"messages": [
            {"to": TENANT, "body": "x"},
            {"to": TENANT, "body": "x"},
            {"to": "+12035550129", "body": "x"},
            {"to": "123", "body": "x"},
        ]}))
        .await;
    assert_eq!(world.database.scalar(USED).await, "1");
    world.accepted(&json!({"messages": [{"to": "123", "body": "x"}]})).await;
    assert_eq!(world.database.scalar(USED).await, "1");
}

#[tokio::test]
async fn a_repeated_request_is_neither_counted_nor_refused() {
    let mut world = World::with(&[key_limit(2), recipient_limit(1)]).await;
    let keyed = bulk(&messages(2)).header("idempotency-key", "k").event();
    let first = world.function.call(keyed.clone()).await;
    assert_eq!(first["statusCode"], 202, "{first}");
    assert_eq!(refusal(&world.send(&messages(3)).await).lines().next(), Some("400 sms.validation_error"));
    let others = json!({"messages": [{"to": "+12035559999", "body": "x"}]});
    assert_eq!(world.refused(&others).await, "429 sms.rate_limited");
    for _ in 0..2 {
        let again = world.function.call(keyed.clone()).await;
        assert_eq!((&again["statusCode"], body(&again)), (&json!(202), body(&first)));
    }
    assert_eq!(world.database.scalar(USED).await, "2");
}

#[tokio::test]
async fn further_messages_to_a_recipient_are_refused_one_by_one_except_urgent_ones() {
    let mut world = World::with(&[recipient_limit(3)]).await;
    world.accepted(&json!({"messages": [{"to": TENANT, "body": "yesterday"}]})).await;
    let past = "update sms_messages set created_at = created_at - interval '1 day'";
    world.database.client.batch_execute(past).await.unwrap();
    world.accepted(&json!({"messages": [{"to": TENANT, "body": "today"}]})).await;
    let request = json!({"messages": [
        {"to": TENANT, "body": "second"},
        {"to": TENANT, "body": "second"},
        {"to": "203-555-0123", "body": "third", "priority": "urgent"},
        {"to": TENANT, "body": "fourth"},
        {"to": TENANT, "body": "fifth", "priority": "urgent"},
        {"to": TENANT, "body": "sixth", "purpose": "emergency"},
        {"to": "+12035550124", "body": "fourth"},
    ]});
    let mut dry_run = request.clone();
    dry_run["dry_run"] = json!(true);
    for _ in 0..2 {
        let run = body(&world.send(&dry_run).await);
        assert_eq!(run["accepted"], 5, "{run}");
        let reasons = run["rejected"].as_array().unwrap();
        assert_eq!(reasons.len(), 2, "{run}");
        assert!(reasons.contains(&json!({"reason": "rate_limited", "count": 1})), "{run}");
    }
    let response = world.accepted(&request).await;
    assert_eq!((&response["accepted"], &response["rejected"]), (&json!(5), &json!(2)), "{response}");
    assert_eq!(errors(&response), ["1 sms.conflict", "3 sms.rate_limited"]);
    let message = "too many messages: 3 in 24 hours are allowed to one recipient";
    assert_eq!(response["items"][3]["error"]["message"], message);
    // The limit is used up now, also by urgent messages.
    let response = world.accepted(&json!({"messages": [{"to": TENANT, "body": "seventh"}]})).await;
    assert_eq!(errors(&response), ["0 sms.rate_limited"]);
    assert_eq!(world.rows("sms_key_usage").await, "0");
}

#[tokio::test]
async fn a_dry_run_uses_up_no_limit() {
    let mut world = World::with(&[key_limit(5), recipient_limit(1)]).await;
    for _ in 0..3 {
        assert_eq!(world.dry_run(messages(5)).await["accepted"], 5);
    }
    assert_eq!(world.rows("sms_key_usage").await, "0");
    assert_eq!(world.accepted(&messages(5)).await["accepted"], 5);
}

#[tokio::test]
async fn without_limits_nothing_is_counted() {
    let mut world = World::start().await;
    for _ in 0..2 {
        let reply = world.send(&messages(3)).await;
        assert_eq!((&reply["statusCode"], reply["headers"].get("ratelimit")), (&json!(202), None));
    }
    assert_eq!(world.rows("sms_key_usage").await, "0");
}
