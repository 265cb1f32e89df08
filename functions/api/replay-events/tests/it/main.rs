//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::service::events::Cursor;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, OTHER_KEY_ID, SubscriptionWorld, body, check_outage, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_replay-events");

fn post(id: &str, payload: &Value) -> ApiRequest {
    let path = format!("/subscriptions/{id}/replay");
    ApiRequest::new("POST", &path).path_parameter("id", id).scopes("subscriptions:manage").json(payload)
}

async fn replay(world: &mut SubscriptionWorld, payload: &Value) -> Value {
    let request = post(&world.id, payload);
    world.function.call(request.event()).await
}

/// Ends the replay, and returns its place and types, if there is one.
async fn ended(world: &SubscriptionWorld) -> String {
    let replay = "with ended as (delete from sms_delivery_streams where kind = 'replay' returning *) \
        select coalesce((select concat_ws(' ', position, target, types) from ended), 'none')";
    world.database.scalar(replay).await
}

/// Starts with events at positions 1 to 4, written at 10:00, 11:00, 11:30 and 12:00. Those of 11:00 and 11:30 have ids
/// in the reverse order, as if the transaction of the earlier one had ended later.
async fn start() -> SubscriptionWorld {
    let world = SubscriptionWorld::start(BINARY, &[]).await;
    let events = "insert into sms_events (id, position, event_type, body, created_at) \
        select (left(sms_first_id(at)::text, 24) || lpad(position::text, 12, '0'))::uuid, position, 'message.status', \
            '{}', at \
        from (values (1, '2026-11-01T10:00:00Z'::timestamptz), (3, '2026-11-01T11:00:00Z'), \
            (2, '2026-11-01T11:00:00.5Z'), (4, '2026-11-01T12:00:00Z')) as t (position, at); \
        update sms_event_counter set last_position = 4";
    world.database.client.batch_execute(events).await.unwrap();
    world
}

fn cursor(position: i64) -> String {
    Cursor::at(position).to_string()
}

#[tokio::test]
async fn a_replay_begins_at_a_time_or_after_a_cursor_and_ends_at_the_end_of_the_log() {
    let mut world = start().await;
    for (payload, after, stored) in [
        (json!({"since": "2026-11-01T00:00:00Z"}), 0, "0 4 {}"),
        (json!({"since": "2026-11-01T10:00:00Z"}), 0, "0 4 {}"),
        // The event with the later id has the earlier position.
        (json!({"since": "2026-11-01T10:30:00Z"}), 1, "1 4 {}"),
        (json!({"since": "2026-11-01T12:00:00+00:00"}), 3, "3 4 {}"),
        (json!({"since": "1600-01-01T00:00:00Z"}), 0, "0 4 {}"),
        (json!({"after": cursor(0)}), 0, "0 4 {}"),
        (json!({"after": cursor(2), "types": ["message.status"]}), 2, "2 4 {message.status}"),
        // Nothing to deliver.
        (json!({"after": cursor(4)}), 4, "none"),
        (json!({"since": "2026-11-01T12:00:01Z"}), 4, "none"),
    ] {
        let reply = replay(&mut world, &payload).await;
        assert_eq!(reply["statusCode"], 202, "{payload}: {reply}");
        let types = payload.get("types").cloned().unwrap_or_else(|| json!([]));
        let expected = json!({"after": cursor(after), "until": cursor(4), "types": types});
        assert_eq!(body(&reply), expected, "{payload}");
        assert_eq!(ended(&world).await, stored, "{payload}");
    }
    let live = world.database.scalar("select position from sms_delivery_streams where kind = 'live'").await;
    assert_eq!(live, "0", "live delivery is not affected");
}

#[tokio::test]
async fn one_replay_runs_at_a_time_and_only_of_an_active_subscription() {
    let mut world = start().await;
    let payload = json!({"after": cursor(1)});
    assert_eq!(replay(&mut world, &payload).await["statusCode"], 202);
    let reply = replay(&mut world, &payload).await;
    assert_eq!(refusal(&reply), "409 sms.conflict");
    assert_eq!(body(&reply)["error"]["message"], "another replay of this subscription runs");
    assert_eq!(ended(&world).await, "1 4 {}");
    let disabled = "update sms_subscriptions set status = 'disabled'";
    world.database.client.batch_execute(disabled).await.unwrap();
    let reply = replay(&mut world, &payload).await;
    assert_eq!(body(&reply)["error"]["message"], "the subscription is disabled; enable it first");
    assert_eq!(ended(&world).await, "none");
}

#[tokio::test]
async fn all_invalid_fields_are_reported() {
    let mut world = start().await;
    let narrow = "update sms_subscriptions set event_types = array['message.status']";
    world.database.client.batch_execute(narrow).await.unwrap();
    for (payload, details) in [
        (json!({}), "since: is missing"),
        (
            json!({"since": "2026-11-01T10:00:00Z", "after": cursor(1)}),
            "after: cannot be given together with since",
        ),
        (json!({"since": "2999-01-01T00:00:00Z"}), "since: is in the future"),
        (json!({"after": "99999999999999999999"}), "after: is not a next_cursor of this API"),
        (json!({"after": cursor(5)}), "after: is not a next_cursor of this API"),
        (
            json!({"after": "x", "types": ["x"], "y": 1}),
            "types[0]: \"x\" is not an event type\n  after: is not a next_cursor of this API\n  \
             y: is not a field of this request",
        ),
        (
            json!({"after": cursor(1), "types": ["message.received"]}),
            "types: message.received is not a type of this subscription",
        ),
    ] {
        let reply = refusal(&replay(&mut world, &payload).await);
        assert_eq!(reply, format!("400 sms.validation_error\n  {details}"), "{payload}");
    }
    let reply = refusal(&replay(&mut world, &json!({"since": "today"})).await);
    assert!(reply.starts_with("400 sms.validation_error\n  since: "), "{reply}");
    assert_eq!(ended(&world).await, "none");
}

#[tokio::test]
async fn only_its_key_and_admin_replay_events() {
    let mut world = start().await;
    // Nothing to deliver, so that no replay runs at the next request.
    world.check_access(|id| post(id, &json!({"after": cursor(4)}))).await;
    let other = post(&world.id, &json!({"after": cursor(1)})).key(OTHER_KEY_ID);
    assert_eq!(refusal(&world.function.call(other.event()).await), "404 sms.not_found");
    assert_eq!(ended(&world).await, "none");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &post("01900000-0000-7000-8000-00000000000c", &json!({"after": cursor(0)}))).await;
}

/// Connecting, and four statements: the subscription, the end of the log, the first event, and the start.
const WAITS: &[environment::Wait] = &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 4)];

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<replay_events::Config>("replay-events", Duration::ZERO, WAITS);
}
