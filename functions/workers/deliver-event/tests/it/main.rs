//! Runs the binary through the Runtime API with a real Postgres and a receiver.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod crashes;
mod lanes;
mod world;

use serde_json::json;
use standardwebhooks::Webhook;
use std::time::Duration;
use testing::{Behaviour, Function, SUBSCRIPTION_SECRET, batch, environment, failed};
use world::{Reply, World, hint, status, succeeds, written};

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_event_is_read_and_a_deleted_subscription_is_ignored() {
    let world = World::start().await;
    let mut function = world.function().await;
    let event = serde_json::from_str(include_str!("../../events/batch.json")).unwrap();
    assert!(failed(&function.call(event).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn written_events_are_delivered_in_order_with_the_bytes_of_the_log_and_a_signature() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0, 0, 1, 0, 1]).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    let received = world.receiver.received();
    let webhook = Webhook::new(SUBSCRIPTION_SECRET).unwrap();
    for request in &received {
        webhook.verify(request.body.as_bytes(), &request.headers).unwrap();
        let logged = format!("select body from sms_events where id = '{}'", request.header("webhook-id"));
        assert_eq!(request.body, world.database.scalar(&logged).await);
        assert_eq!(request.header("content-type"), "application/json");
    }
    for (conversation, sequences) in [(&world.ids[0], vec![1, 2, 3]), (&world.ids[1], vec![1, 2])] {
        let of =
            received.iter().filter(|request| request.event()["conversation_id"] == conversation.as_str());
        assert_eq!(of.map(world::Received::sequence).collect::<Vec<_>>(), sequences);
    }
    assert_eq!(world.undelivered().await, "0");
    assert!(world.sqs.sent().is_empty(), "no stream needs a hint");
    assert_eq!(function.metric("events_delivered").await, 5.0);
    let latencies = function.metric("event_latency").await;
    assert_eq!(latencies.as_array().map(Vec::len), Some(5), "{latencies}");
    let state = format!(
        "select (position, target, hinted_at) from sms_delivery_streams where subscription_id = '{id}'"
    );
    assert_eq!(world.database.scalar(&state).await, "(5,5,)");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_delivers_some_streams_and_leaves_the_others_to_further_ones() {
    let world = World::start().await;
    for _ in 0..13 {
        world.subscribe("").await;
    }
    world.write(&[0]).await;
    let mut function = world.function().await;
    succeeds(&mut function, &[written(), written()]).await;
    assert_eq!(world.receiver.received().len(), 10);
    let hints: Vec<_> = world.queued("events").into_iter().map(|(body, _)| body).collect();
    assert_eq!(hints.len(), 3);
    succeeds(&mut function, &hints).await;
    assert_eq!(world.receiver.received().len(), 13);
    assert_eq!(world.undelivered().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_is_logged_and_attempted_again_while_others_are_delivered() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0, 1, 0, 1, 1]).await;
    let bad = world.ids[0].clone();
    world.receiver.behave(move |request| status(if request.body.contains(&bad) { 500 } else { 200 }));
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    assert_eq!(world.receiver.received().len(), 4, "three of the other conversation, and one attempt");
    assert_eq!(world.undelivered().await, "2");
    let attempts = "select string_agg(concat_ws(' ', attempt, status_code, error, response_body,
        next_attempt_at between attempted_at + interval '4 s' and attempted_at + interval '6 s'), ',')
        from sms_delivery_attempts";
    assert_eq!(world.database.scalar(attempts).await, "1 500 status 500 the response t");
    let queued = world.queued("events");
    assert!(matches!(&queued[..], [(body, 4..=5)] if *body == hint(&id)), "{queued:?}");
    assert_eq!(function.metric("deliveries_failed").await, 1.0);
    let log = format!("{:?}", function.log().await);
    assert!(log.contains("delivery failed") && !log.contains("/events\""), "{log}");

    world.receiver.behave(|_| status(204));
    world.database.client.batch_execute("update sms_deliveries set next_attempt_at = now()").await.unwrap();
    succeeds(&mut function, &[hint(&id)]).await;
    assert_eq!(world.receiver.sequences()[4..], [1, 2], "the late one first");
    let received = world.receiver.received();
    assert_eq!(
        received[4].header("webhook-id"),
        received.iter().find(|r| r.body == received[4].body).unwrap().header("webhook-id")
    );
    assert_eq!(world.undelivered().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_given_up_after_the_last_delay() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0]).await;
    world.receiver.behave(|_| status(400));
    let mut function = world.function_with(&[("EVENTS_RETRY_DELAYS_SECONDS", "3600")]).await;
    succeeds(&mut function, &[written()]).await;
    assert_eq!(world.undelivered().await, "1");
    world.database.client.batch_execute("update sms_deliveries set next_attempt_at = now()").await.unwrap();
    succeeds(&mut function, &[hint(&id)]).await;
    assert_eq!(world.undelivered().await, "0");
    assert_eq!(function.metric("events_given_up").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_pauses_the_receiver_and_the_next_hint_comes_then() {
    let world = World::start().await;
    let id = world.subscribe("max_in_flight = 1").await;
    world.write(&[0, 1]).await;
    world.receiver.behave(|_| Reply { header: Some(("retry-after", "40")), ..status(429) });
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    succeeds(&mut function, &[hint(&id)]).await;
    assert_eq!(world.receiver.received().len(), 1);
    let queued = world.queued("events");
    assert!(matches!(&queued[..], [(body, 38..=40)] if *body == hint(&id)), "{queued:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_410_is_disabled_and_others_hear_of_it() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0]).await;
    world.receiver.behave(|_| status(410));
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    let state = format!("select status || ' ' || disabled_reason from sms_subscriptions where id = '{id}'");
    assert_eq!(world.database.scalar(&state).await, "disabled gone");
    assert_eq!(world.queued("events"), [(written(), 0)]);
    assert_eq!(function.metric("subscriptions_disabled").await, 1.0);
    succeeds(&mut function, &[hint(&id)]).await;
    assert_eq!(world.receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_rotation_both_secrets_sign() {
    let world = World::start().await;
    let old = "whsec_b2xkIHNlY3JldA==";
    world.subscribe(&format!("previous_secret = '{old}', previous_until = now() + interval '1 hour'")).await;
    world.write(&[0]).await;
    succeeds(&mut world.function().await, &[written()]).await;
    let request = &world.receiver.received()[0];
    assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
    for secret in [SUBSCRIPTION_SECRET, old] {
        Webhook::new(secret).unwrap().verify(request.body.as_bytes(), &request.headers).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_are_added_for_subscriptions_that_want_them() {
    let world = World::start().await;
    world.subscribe("content = true").await;
    world
        .database
        .client
        .batch_execute(&format!(
            "with message as (
                 insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
                     delivery_status, twilio_sid, created_at)
                 values (sms_new_id(), '{0}', 'inbound', '+12025550123', '+15550100', 'the text', 'received', 'SM1',
                     now()) returning id)
             select sms_emit_events(
                 array['message.received'], array['{0}'::uuid], array[id], array['{{\"a\":1}}'], now())
             from message",
            world.ids[0]
        ))
        .await
        .unwrap();
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    let request = &world.receiver.received()[0];
    let data = json!({"a": 1, "from_number": "+12025550123", "to_number": "+15550100", "message_content": "the text"});
    assert_eq!(request.event()["data"], data);
    let log = world.database.scalar("select body from sms_events").await;
    assert!(!log.contains("the text") && request.body.starts_with(log.strip_suffix("}}").unwrap()));
    Webhook::new(SUBSCRIPTION_SECRET).unwrap().verify(request.body.as_bytes(), &request.headers).unwrap();
    assert!(!format!("{:?}", function.log().await).contains("the text"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_does_not_exceed_its_rate_and_ends() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0; 6]).await;
    let mut function = world.function_with(&[("EVENTS_REPLAY_PER_SECOND", "4")]).await;
    succeeds(&mut function, &[written()]).await;
    let replay = format!(
        "insert into sms_delivery_streams (subscription_id, kind, position, target)
         select '{id}', 'replay', 0, last_position from sms_event_counter"
    );
    world.database.client.batch_execute(&replay).await.unwrap();
    let begun = std::time::Instant::now();
    succeeds(&mut function, &[json!({"version": "2", "subscription_id": id, "kind": "replay"})]).await;
    assert_eq!(world.receiver.sequences(), [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]);
    assert!(begun.elapsed() >= Duration::from_millis(1_250), "{:?}", begun.elapsed());
    assert_eq!(world.database.scalar("select string_agg(kind, ' ') from sms_delivery_streams").await, "live");
    let ids: Vec<_> = world.receiver.received().iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_eq!(ids[..6], ids[6..], "the same ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_unavailable_records_fail_and_an_unreadable_one_fails_alone() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0]).await;
    let mut function = world.function().await;
    let hide = "alter table sms_delivery_streams rename to hidden";
    world.database.client.batch_execute(hide).await.unwrap();
    assert_eq!(failed(&function.call(batch(&[written(), hint(&id)])).await), ["m-0", "m-1"]);
    let show = "alter table hidden rename to sms_delivery_streams";
    world.database.client.batch_execute(show).await.unwrap();
    let bodies = [json!({"version": "9"}), json!({"version": "2"}), written()];
    assert_eq!(failed(&function.call(batch(&bodies)).await), ["m-0", "m-1"]);
    assert_eq!(world.receiver.sequences(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_sqs_does_not_accept_are_sent_again() {
    let world = World::start().await;
    for _ in 0..12 {
        world.subscribe("").await;
    }
    world.write(&[0]).await;
    world.sqs.behave(Behaviour::Fails);
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    let waiting = "select count(*) from sms_delivery_streams where hinted_at is null and position < target";
    assert_eq!(world.database.scalar(waiting).await, "2", "the sweep finds them");
    assert_eq!(function.metric_of("errors", "sqs_failed").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let variables =
        [("DATABASE_URL", "nonsense"), ("EVENTS_QUEUE_URL", "events"), ("EVENTS_PAUSE_SECONDS", "0")];
    let mut function = Function::start(env!("CARGO_BIN_EXE_deliver-event"), &variables).await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in [
        "DATABASE_URL is invalid",
        "EVENTS_QUEUE_URL is not a URL",
        "SLOW_EVENTS_QUEUE_URL is missing",
        "EVENTS_PAUSE_SECONDS must be between",
    ] {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // Comparing, claiming and the last exchange; an attempt in between; hints to both queues.
    environment::check::<deliver_event::Config>(
        "deliver-event",
        Duration::from_secs(1),
        &[
            environment::CONNECT,
            ("DATABASE_STATEMENT_TIMEOUT_MS", 4),
            ("EVENTS_ATTEMPT_TIMEOUT_MS", 1),
            ("SQS_SEND_BUDGET_MS", 2),
        ],
    );
}
