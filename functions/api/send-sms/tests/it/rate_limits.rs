//! The limits of an API key per minute, and of a recipient in 24 hours.

use super::{BINARY, OUR_NUMBER, TENANT, World, environment, sms};
use serde_json::{Value, json};
use testing::{Function, body, refusal};

const OTHER_KEY: &str = "01900000-0000-7000-8000-000000000002";
const USED: &str = "select coalesce(sum(used), 0) from sms_key_usage";
/// Moves what was counted to earlier minutes.
const AGE: &str = "update sms_key_usage set minute = minute - interval '1 minute'";

fn key_limit(messages: u32) -> (&'static str, String) {
    ("API_KEY_MESSAGES_PER_MINUTE", messages.to_string())
}

fn recipient_limit(messages: u32) -> (&'static str, String) {
    ("RECIPIENT_MESSAGES_PER_DAY", messages.to_string())
}

fn message() -> Value {
    json!({"to": TENANT, "body": "x"})
}

/// Returns the limit, what is left of it, and the seconds of `RateLimit`.
fn rest(reply: &Value) -> (String, u64, u64) {
    let header = reply["headers"]["ratelimit"].as_str().unwrap_or_default();
    let parts: Vec<&str> = header.split([';', '=']).collect();
    let [limit, "r", rest, "t", seconds] = parts[..] else { panic!("no RateLimit: {reply}") };
    let (Ok(rest), Ok(seconds)) = (rest.parse(), seconds.parse()) else { panic!("not numbers: {header}") };
    (limit.to_owned(), rest, seconds)
}

/// Checks a refusal and returns its `Retry-After`.
fn refused(reply: &Value, policy: &str) -> u64 {
    assert_eq!(refusal(reply), "429 sms.rate_limited");
    assert_eq!(reply["headers"]["ratelimit-policy"], policy);
    let (limit, left, seconds) = rest(reply);
    assert_eq!((policy.split(';').next(), left), (Some(limit.as_str()), 0));
    assert_eq!(reply["headers"]["retry-after"], seconds.to_string());
    seconds
}

#[tokio::test]
async fn an_api_key_is_refused_beyond_its_limit_until_the_window_has_passed() {
    let mut world = World::with(&[key_limit(3)]).await;
    for left in [2, 1, 0] {
        let reply = world.send(message()).await;
        assert_eq!(reply["statusCode"], 202, "{reply}");
        assert_eq!(reply["headers"]["ratelimit-policy"], "\"key\";q=3;w=60");
        let (limit, rest, seconds) = rest(&reply);
        assert_eq!((limit.as_str(), rest), ("\"key\"", left));
        assert!((1..=120).contains(&seconds), "{seconds}");
    }
    for _ in 0..2 {
        let seconds = refused(&world.send(message()).await, "\"key\";q=3;w=60");
        assert!((1..=120).contains(&seconds), "{seconds}");
    }
    assert_eq!((world.rows("sms_messages").await.as_str(), world.sqs.sent().len()), ("3", 3));
    assert_eq!(world.database.scalar(USED).await, "3");
    // A part of the minute before is still in the window.
    world.database.client.batch_execute(AGE).await.unwrap();
    let reply = world.send(message()).await;
    if reply["statusCode"] != 202 {
        assert!(refused(&reply, "\"key\";q=3;w=60") <= 60);
    }
    for _ in 0..2 {
        world.database.client.batch_execute(AGE).await.unwrap();
    }
    assert_eq!(rest(&world.send(message()).await).1, 2);
}

#[tokio::test]
async fn api_keys_do_not_share_their_limit() {
    let mut world = World::with(&[key_limit(1)]).await;
    let other = sms(&message()).key(OTHER_KEY).event();
    assert_eq!(world.send(message()).await["statusCode"], 202);
    assert_eq!(world.function.call(other.clone()).await["statusCode"], 202);
    refused(&world.send(message()).await, "\"key\";q=1;w=60");
    refused(&world.function.call(other).await, "\"key\";q=1;w=60");
    assert_eq!(world.rows("sms_messages").await, "2");
}

#[tokio::test]
async fn concurrent_requests_exceed_the_limit_at_most_by_their_number() {
    const FUNCTIONS: usize = 8;
    let limit = 3;
    let mut world = World::with(&[key_limit(limit)]).await;
    let mut variables = environment(&world.sqs, &world.database.url());
    variables.push(key_limit(limit));
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..FUNCTIONS {
        let mut function = Function::start(BINARY, &variables).await;
        runs.spawn(async move {
            let mut accepted = 0;
            for _ in 0..4 {
                accepted += usize::from(function.call(sms(&message()).event()).await["statusCode"] == 202);
            }
            accepted
        });
    }
    let accepted: usize = runs.join_all().await.into_iter().sum();
    let limit = limit as usize;
    assert!((limit..limit + FUNCTIONS).contains(&accepted), "{accepted}");
    let stored = [world.rows("sms_messages").await, world.database.scalar(USED).await];
    assert_eq!(stored, [accepted.to_string(), accepted.to_string()]);
    refused(&world.send(message()).await, "\"key\";q=3;w=60");
}

#[tokio::test]
async fn a_repeated_request_is_neither_counted_nor_refused() {
    let mut world = World::with(&[key_limit(1), recipient_limit(1)]).await;
    let keyed = |payload: &Value| sms(payload).header("idempotency-key", "k").event();
    let first = world.function.call(keyed(&message())).await;
    assert_eq!((&first["statusCode"], rest(&first).1), (&json!(202), 0));
    refused(&world.send(json!({"to": "+12035550124", "body": "x"})).await, "\"key\";q=1;w=60");
    for _ in 0..3 {
        let again = world.function.call(keyed(&message())).await;
        assert_eq!((&again["statusCode"], body(&again)), (&json!(202), body(&first)));
        assert_eq!(again["headers"].get("ratelimit"), None, "{again}");
    }
    let other = world.function.call(keyed(&json!({"to": TENANT, "body": "y"}))).await;
    assert_eq!(refusal(&other), "409 sms.idempotency_conflict");
    assert_eq!(world.database.scalar(USED).await, "1");
    // A refused request does not use up its Idempotency-Key.
    let new = sms(&json!({"to": "+12035550124", "body": "x"})).header("idempotency-key", "new").event();
    refused(&world.function.call(new.clone()).await, "\"key\";q=1;w=60");
    world.database.client.batch_execute("delete from sms_key_usage").await.unwrap();
    assert_eq!(world.function.call(new).await["statusCode"], 202);
}

#[tokio::test]
async fn a_recipient_gets_a_limited_number_of_messages_except_urgent_ones_and_emergencies() {
    const POLICY: &str = "\"recipient\";q=2;w=86400";
    let mut world = World::with(&[recipient_limit(2)]).await;
    // Neither inbound messages nor automatic replies count.
    world.receive(TENANT, OUR_NUMBER).await;
    let automatic = "insert into sms_messages (id, conversation_id, direction, from_number, to_number, \
            message_content, delivery_status, in_reply_to, created_at) \
        select sms_new_id(), conversation_id, 'outbound', to_number, from_number, 'x', 'queued', id, now() \
        from sms_messages";
    world.database.client.batch_execute(automatic).await.unwrap();
    for _ in 0..2 {
        let reply = world.send(message()).await;
        assert_eq!((&reply["statusCode"], reply["headers"].get("ratelimit")), (&json!(202), None));
    }
    let other_key = world.function.call(sms(&message()).key(OTHER_KEY).event()).await;
    for reply in [world.send(message()).await, other_key] {
        let seconds = refused(&reply, POLICY);
        assert!((86_000..=86_400).contains(&seconds), "{seconds}");
    }
    world.accepted(json!({"to": TENANT, "body": "x", "priority": "urgent"})).await;
    world.accepted(json!({"to": TENANT, "body": "x", "purpose": "emergency"})).await;
    world.accepted(json!({"to": "+12035550124", "body": "x"})).await;
    // Two of the four leave the window. The other two, which were not refused, count.
    let age = "update sms_messages set created_at = created_at - interval '1 day'";
    let ordinary = format!("{age} where priority = 'normal' and purpose = 'service' and in_reply_to is null");
    world.database.client.batch_execute(&ordinary).await.unwrap();
    refused(&world.send(message()).await, POLICY);
    world.database.client.batch_execute(age).await.unwrap();
    world.accepted(message()).await;
    assert_eq!(world.rows("sms_key_usage").await, "0");
}

#[tokio::test]
async fn a_request_that_is_refused_for_another_reason_is_not_counted() {
    let mut world = World::with(&[key_limit(2), recipient_limit(1)]).await;
    world.accepted(message()).await;
    refused(&world.send(message()).await, "\"recipient\";q=1;w=86400");
    assert_eq!(world.send(json!({"to": TENANT})).await["statusCode"], 400);
    world.database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    for _ in 0..3 {
        assert_eq!(refusal(&world.send(message()).await), "409 sms.recipient_opted_out");
    }
    assert_eq!(world.database.scalar(USED).await, "1");
    assert_eq!(rest(&world.send(json!({"to": "+12035550124", "body": "x"})).await).1, 0);
}

#[tokio::test]
async fn without_limits_nothing_is_counted() {
    let mut world = World::start().await;
    for _ in 0..3 {
        let reply = world.send(message()).await;
        assert_eq!((&reply["statusCode"], reply["headers"].get("ratelimit")), (&json!(202), None));
    }
    assert_eq!(world.rows("sms_key_usage").await, "0");
    // Nor is the table needed.
    world.database.client.batch_execute("drop table sms_key_usage").await.unwrap();
    world.accepted(message()).await;
}
