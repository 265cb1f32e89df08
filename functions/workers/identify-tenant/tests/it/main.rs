//! Runs the binary through the Runtime API with a real Postgres and a configurable Monitor.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod languages;
mod outages;
mod world;

use serde_json::json;
use std::time::Duration;
use testing::{Sqs, batch, environment, failed};
use wiremock::ResponseTemplate;
use world::{World, succeeds};

const A: &str = "+12025550123";
const B: &str = "+12025550124";

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_event_is_read_and_a_deleted_conversation_is_ignored() {
    let world = World::start().await;
    let mut function = world.function().await;
    let event = serde_json::from_str(include_str!("../../events/batch.json")).unwrap();
    assert!(failed(&function.call(event).await).is_empty());
    assert!(world.lookups().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spellings_are_looked_up_in_order_until_one_matches() {
    let world = World::start().await;
    world.add_match("2025550123", json!({"tenant_id": 4711, "language_preference": "es"})).await;
    let mut function = world.function().await;
    let mut message = world.text(A, "unknown", 0.98).await;
    message["number"] = "(202) 555-0123".into();
    succeeds(&mut function, &[message]).await;
    assert_eq!(world.lookups().await, ["(202) 555-0123", A, "2025550123"]);
    assert_eq!(world.is(A).await, "4711");
    assert_eq!(world.events("tenant_identified", "previous_tenant_id", "tenant_id").await, "->4711");
    assert_eq!(
        world
            .database
            .scalar(
                "select tenant_id || (last_used_at = (select max(created_at) from sms_messages)) \
            from sms_tenant_numbers"
            )
            .await,
        "4711true"
    );
    let log = format!("{:?}", function.log().await);
    assert!(log.contains("r-0") && !log.contains("5550123"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_looks_each_number_up_once_and_skips_recently_checked_conversations() {
    let world = World::start().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    world.respond_with(B, ResponseTemplate::new(404), None).await;
    let mut function = world.function().await;
    let messages = [
        world.text(A, "en", 0.95).await,
        world.text(B, "en", 0.95).await,
        world.text(A, "en", 0.95).await,
        world.text("40404", "unknown", 0.98).await,
    ];
    succeeds(&mut function, &messages).await;
    let mut asked = world.lookups().await;
    asked.sort();
    assert_eq!(
        function.metric("unknown_numbers").await,
        1.0,
        "B has no tenant; the short code is not looked up"
    );
    assert_eq!(asked, [A, B, "12025550124", "2025550124"], "short codes are not looked up");
    succeeds(&mut function, &messages).await;
    succeeds(&mut function, &[world.text(A, "en", 0.95).await, world.text(B, "en", 0.95).await]).await;
    assert_eq!(world.lookups().await.len(), 4, "a match and a miss are both stored");
    assert_eq!(world.events("tenant_identified", "previous_tenant_id", "tenant_id").await, "->T-1");
    assert_eq!(
        world
            .database
            .scalar(
                "select last_used_at = (select max(m.created_at) from sms_messages m \
            where m.from_number = '+12025550123') from sms_tenant_numbers"
            )
            .await,
        "t",
        "the last use of a number is stored without a lookup"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_fails_alone() {
    let world = World::start().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    let mut function = world.function().await;
    let messages = [world.text(A, "en", 0.95).await, json!({"version": "2"})];
    assert_eq!(failed(&function.call(batch(&messages)).await), ["m-1"]);
    assert_eq!(world.is(A).await, "T-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_unavailable_every_record_fails_and_is_looked_up_later() {
    let world = World::start().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    let mut function = world.function().await;
    let message = world.text(A, "en", 0.95).await;
    world.database.client.batch_execute("alter table sms_conversations rename to hidden").await.unwrap();
    assert_eq!(failed(&function.call(batch(std::slice::from_ref(&message))).await), ["m-0"]);
    world.database.client.batch_execute("alter table hidden rename to sms_conversations").await.unwrap();
    succeeds(&mut function, &[message]).await;
    assert_eq!(world.is(A).await, "T-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_monitor_no_number_is_looked_up_and_no_record_fails() {
    let world = World::start().await;
    let mut function = world.function_with(&[("MONITOR_API_URL", "")]).await;
    succeeds(&mut function, &[world.text(A, "en", 0.95).await]).await;
    assert_eq!(world.is(A).await, "none");
    assert_eq!(
        world.database.scalar("select tenant_next_check_at is null from sms_conversations").await,
        "t"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_matching_tenants_are_stored_as_candidates_and_none_is_chosen() {
    let world = World::start().await;
    world
        .respond_with(
            A,
            ResponseTemplate::new(200).set_body_json(json!({"tenants": ["T-1", "T-2"]})),
            Some(1),
        )
        .await;
    world.add_match(A, json!({"tenant_id": "T-2"})).await;
    let mut function = world.function().await;
    let message = world.text(A, "en", 0.95).await;
    succeeds(&mut function, std::slice::from_ref(&message)).await;
    assert_eq!(world.is(A).await, r#"none ["T-1", "T-2"]"#);
    assert_eq!(world.events("tenant_identified", "previous_tenant_id", "tenant_id").await, "");
    assert_eq!(world.database.scalar("select count(*) from sms_tenant_numbers").await, "0");
    // The Monitor's data was corrected.
    world.time_passes().await;
    succeeds(&mut function, &[message]).await;
    assert_eq!(world.is(A).await, "T-2");
    assert_eq!(world.events("tenant_identified", "previous_tenant_id", "tenant_id").await, "->T-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_match_is_used_and_the_other_spellings_are_looked_up_later() {
    let world = World::start().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    world.add_match("2025550124", json!({"tenant_id": "T-1", "language_preference": "pt"})).await;
    world.add_match("12025550124", json!({"tenant_id": "T-2"})).await;
    let mut function = world.function().await;
    let messages = [world.text(A, "en", 0.95).await, world.text(B, "en", 0.5).await];
    succeeds(&mut function, &messages).await;
    let asked = |mut asked: Vec<String>| {
        asked.sort();
        asked
    };
    assert_eq!(asked(world.lookups().await), [A, B, "2025550124"]);
    assert_eq!((world.is(A).await.as_str(), world.is(B).await.as_str()), ("T-1", "T-1"));
    let soon = "select bool_and(tenant_next_check_at < now() + interval '11 seconds') from sms_conversations";
    assert_eq!(world.database.scalar(soon).await, "t");
    world.time_passes().await;
    world.monitor.reset().await;
    world.add_match("2025550124", json!({"tenant_id": "T-1"})).await;
    world.add_match("12025550124", json!({"tenant_id": "T-2"})).await;
    succeeds(&mut function, &messages).await;
    let rest = [B, "12025550123", "12025550124", "2025550123", "2025550124"];
    assert_eq!(
        asked(world.lookups().await),
        rest,
        "the first number's remaining spellings once, all spellings of the other"
    );
    assert_eq!(world.is(A).await, "T-1", "the match stays although no other spelling matches");
    assert_eq!(world.is(B).await, r#"none ["T-1", "T-2"]"#);
    assert_eq!(world.database.scalar("select count(*) from sms_tenant_numbers").await, "1");
    let tomorrow =
        "select bool_and(tenant_next_check_at > now() + interval '23 hours') from sms_conversations";
    assert_eq!(world.database.scalar(tomorrow).await, "t");
    // After a day every spelling is looked up.
    world.time_passes().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    succeeds(&mut function, &messages[..1]).await;
    assert_eq!(world.lookups().await[5..], [A, "2025550123", "12025550123"]);
    assert_eq!(world.is(A).await, "T-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_with_a_new_tenant_loses_the_language_of_the_previous_one() {
    let world = World::start().await;
    world
        .respond_with(A, ResponseTemplate::new(200).set_body_json(json!({"tenant_id": "T-1"})), Some(1))
        .await;
    world.add_match(A, json!({"tenant_id": "T-2"})).await;
    let mut function = world.function().await;
    let message = world.text(A, "es", 0.95).await;
    succeeds(&mut function, std::slice::from_ref(&message)).await;
    assert_eq!(world.language(A).await, "es 0.95 own");
    world.confirms(&mut function, &message).await;
    assert_eq!(world.is(A).await, "T-1");
    world.time_passes().await;
    succeeds(&mut function, &[message]).await;
    assert_eq!(world.is(A).await, "T-2");
    assert_eq!(world.events("tenant_identified", "previous_tenant_id", "tenant_id").await, "->T-1 T-1>T-2");
    assert_eq!(world.language(A).await, "unknown 0");
    assert_eq!(
        world.events("language_changed", "previous_language", "language").await,
        "unknown>es es>unknown"
    );
    assert_eq!(
        world.database.scalar("select string_agg(tenant_id, ',') from sms_tenant_numbers").await,
        "T-2"
    );
    assert_eq!(world.profile_updates().await, [r#"PUT /tenants/T-1/language {"language":"es"}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_loses_its_tenant_after_two_lookups_without_a_match() {
    let world = World::start().await;
    world
        .respond_with(A, ResponseTemplate::new(200).set_body_json(json!({"tenant_id": "T-1"})), Some(1))
        .await;
    world.add_match(B, json!({"tenant_id": "T-1"})).await;
    let mut function = world.function().await;
    let old = world.text(A, "en", 0.95).await;
    succeeds(&mut function, std::slice::from_ref(&old)).await;
    succeeds(&mut function, &[world.text(B, "en", 0.95).await]).await;
    let latest = "select c.phone_number_canonical from sms_tenant_numbers n join sms_conversations c
        on c.id = n.conversation_id
                  where n.tenant_id = 'T-1' order by n.last_used_at desc limit 1";
    assert_eq!(world.database.scalar(latest).await, B);
    world.confirms(&mut function, &old).await;
    world.time_passes().await;
    succeeds(&mut function, std::slice::from_ref(&old)).await;
    assert_eq!(world.is(A).await, "T-1", "one miss is not enough");
    world.time_passes().await;
    succeeds(&mut function, &[old]).await;
    assert_eq!((world.is(A).await.as_str(), world.is(B).await.as_str()), ("none", "T-1"));
    assert_eq!(world.database.scalar("select count(*) from sms_tenant_numbers").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_functions_do_not_look_the_same_number_up() {
    let world = World::start().await;
    let slow = ResponseTemplate::new(200)
        .set_body_json(json!({"tenant_id": "T-1"}))
        .set_delay(Duration::from_millis(300));
    world.respond_with(A, slow, None).await;
    let (mut one, mut other) = (world.function().await, world.function().await);
    let message = world.text(A, "en", 0.95).await;
    let messages = [message];
    tokio::join!(succeeds(&mut one, &messages), succeeds(&mut other, &messages));
    assert_eq!(world.lookups().await.len(), 1);
    assert_eq!(world.is(A).await, "T-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identification_sends_a_hint_about_its_events() {
    let world = World::start().await;
    let sqs = Sqs::start().await;
    world.add_match(A, json!({"tenant_id": "T-1"})).await;
    world.respond_with(B, ResponseTemplate::new(404), None).await;
    let queue = sqs.queue("events");
    let variables = [("EVENTS_QUEUE_URL", queue.as_str()), ("AWS_ENDPOINT_URL_SQS", sqs.url())];
    let mut function = world.function_with(&variables).await;
    succeeds(&mut function, &[world.text(B, "en", 0.95).await]).await;
    assert!(sqs.sent().is_empty(), "no tenant, no event");
    succeeds(&mut function, &[world.text(A, "en", 0.95).await]).await;
    let sent: Vec<_> = sqs.sent().into_iter().map(|sent| (sent.queue_url, sent.body)).collect();
    assert_eq!(sent, [(queue, json!({"version": "1"}))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let world = World::start().await;
    let wrong = [("DATABASE_URL", "nonsense"), ("MONITOR_API_URL", "nowhere"), ("TENANT_RETRY_SECONDS", "0")];
    let mut function = world.function_with(&wrong).await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for name in ["DATABASE_URL is invalid", "MONITOR_API_URL is not a URL", "TENANT_RETRY_SECONDS must be"] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<identify_tenant::Config>(
        "identify-tenant",
        Duration::ZERO,
        &[
            ("DATABASE_CONNECT_TIMEOUT_MS", 2),
            ("DATABASE_STATEMENT_TIMEOUT_MS", 2),
            ("MONITOR_BUDGET_MS", 1),
            ("TENANT_PROFILE_TIMEOUT_MS", 1),
        ],
    );
}
