//! Receivers that fail as a whole, that are slow, that are gone, and that fail for days.

use super::{
    DeliveryEnd, DeliveryResult, Demand, WANTS, World, at, delivered, positions, rejected, result,
    unavailable,
};
use crate::now;
use common::db::deliveries::{self, Judged};
use common::domain::event::{
    DisabledReason, EventType, ServiceEvent, SubscriptionDisabled, SubscriptionWarning,
};
use std::time::Duration;

const DAYS: Duration = Duration::from_secs(5 * 86_400);

#[tokio::test]
async fn an_unavailable_receiver_is_left_alone_for_longer_and_longer_and_then_asked_once() {
    let world = World::start().await;
    let ids = world.conversations(6).await;
    let stream = world.subscribe("").await;
    world.emit(&ids.iter().collect::<Vec<_>>()).await;
    let mut claims = world.claim(stream, now()).await;
    assert_eq!(claims.len(), 6);
    // Those under way fail together, which counts once.
    for claim in &claims {
        world.record(stream, &[unavailable(claim, at(1.0), 0.0)], now()).await;
    }
    let (mut time, mut pauses) = (0.0, Vec::new());
    for _ in 0..9 {
        let pause = world.stream(stream, &format!("extract(epoch from paused_until - '{}')", at(time))).await;
        let pause: f64 = pause.parse().unwrap();
        pauses.push(pause);
        assert_eq!(world.claim(stream, at(time + pause - 0.01)).await, []);
        time += pause + 0.01;
        claims = world.claim(stream, at(time)).await;
        assert_eq!(claims.len(), 1, "one attempt finds out whether it works");
        world.record(stream, &[unavailable(&claims[0], at(time), 0.0)], at(time)).await;
    }
    for (pause, full) in pauses.iter().zip([5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]) {
        assert!(*pause > full * 0.79 && *pause <= full, "{pauses:?}");
    }
    time += 300.0;
    let probe = world.claim(stream, at(time)).await;
    assert_eq!(probe.len(), 1);
    assert_eq!(world.step(stream, &delivered(&probe), at(time)).await.claims.len(), 5, "all at once again");
    assert_eq!(world.stream(stream, "failures").await, "0");
}

#[tokio::test]
async fn retry_after_is_the_shortest_pause() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0], &ids[1]]).await;
    let claims = world.claim(stream, now()).await;
    let results = [unavailable(&claims[0], at(120.0), 120.0), delivered(&claims[1..]).remove(0)];
    let step = world.step(stream, &results, now()).await;
    assert_eq!((step.claims.len(), step.hint_at), (0, Some(at(120.0))));
    assert_eq!(world.claim(stream, at(119.9)).await, []);
    assert_eq!(positions(&world.claim(stream, at(120.0)).await), [1]);
}

#[tokio::test]
async fn a_rejection_of_an_event_does_not_pause_the_others() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("max_in_flight = 1").await;
    world.emit(&[&ids[0], &ids[1]]).await;
    let first = world.claim(stream, now()).await;
    let next = world.step(stream, &[rejected(&first[0], Some(at(5.0)))], now()).await;
    assert_eq!(positions(&next.claims), [2]);
}

#[tokio::test]
async fn an_event_is_given_up_after_its_last_attempt_and_others_follow() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0]; 2]).await;
    let first = world.claim(stream, now()).await;
    let next = world.step(stream, &[rejected(&first[0], None)], now()).await.claims;
    assert_eq!(positions(&next), [2]);
    assert_eq!(world.scalar("select next_attempt_at is null from sms_delivery_attempts").await, "t");
}

#[tokio::test]
async fn a_success_after_a_failure_is_listed_and_ends_the_failure() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("content = true").await;
    world.emit(&[&ids[0]]).await;
    let first = world.claim(stream, now()).await;
    world.record(stream, &[rejected(&first[0], Some(at(5.0)))], at(1.0)).await;
    let id = stream.subscription_id;
    assert_eq!(world.subscription(id, "failing_since = '2026-11-01 12:00Z'").await, "t");
    let second = world.claim(stream, at(5.0)).await;
    world.record(stream, &[rejected(&second[0], Some(at(9.0)))], at(6.0)).await;
    assert_eq!(world.subscription(id, "failing_since = '2026-11-01 12:00Z'").await, "t", "the first one");
    let third = world.claim(stream, at(9.0)).await;
    world.record(stream, &delivered(&third), at(9.5)).await;
    assert_eq!(world.subscription(id, "failing_since").await, "");
    let logged = "select string_agg(concat_ws(' ', attempt, error, coalesce(response_body, '-')), ',' order by attempt)
        from sms_delivery_attempts";
    let expected = "1 status 500 -,2 status 500 -,3 -";
    assert_eq!(world.scalar(logged).await, expected, "a receiver of contents might return them");
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_disabled_at_once_and_its_event_waits() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("").await;
    let other = world.subscribe("").await;
    world.emit(&[&ids[0], &ids[1]]).await;
    let claims = world.claim(stream, now()).await;
    let gone = DeliveryResult {
        status_code: Some(410),
        ..result(&claims[0], DeliveryEnd::Gone { next_attempt_at: Some(at(1.0)) })
    };
    let step = world.step(stream, &[gone], at(1.0)).await;
    assert!(!step.is_active && step.claims.is_empty());
    assert_eq!(world.subscription(stream.subscription_id, "status, disabled_reason").await, "disabled gone");
    assert_eq!(world.claim(stream, at(60.0)).await, []);
    let bodies = world.bodies_of("subscription.disabled").await;
    let event: ServiceEvent<SubscriptionDisabled> = serde_json::from_str(&bodies[0]).unwrap();
    let expected = SubscriptionDisabled {
        subscription_id: stream.subscription_id,
        reason: DisabledReason::Gone,
        failing_since: Some(now()),
    };
    assert_eq!((event.data.clone(), event.timestamp, bodies.len()), (expected, at(1.0), 1));
    assert_eq!(serde_json::to_string(&event).unwrap(), bodies[0]);
    world.compare(now()).await;
    assert_eq!(positions(&world.claim(other, now()).await), [1, 2, 3]);
    // After it was enabled, nothing is skipped: not what failed, nor what was in flight, nor what came later.
    world.emit(&[&ids[0]]).await;
    let resume = format!("select sms_resume_subscription('{}', '{}')", stream.subscription_id, at(100.0));
    assert_eq!(world.scalar(&resume).await, "t");
    assert_eq!(world.scalar(&resume).await, "f");
    assert_eq!(
        world.subscription(stream.subscription_id, "status, disabled_reason, failing_since").await,
        "active"
    );
    let step = world.step(stream, &[], at(100.0)).await;
    assert_eq!(positions(&step.claims), [1, 2]);
    let rest = world.step(stream, &delivered(&step.claims), at(101.0)).await.claims;
    assert_eq!(positions(&rest), [4]);
}

#[tokio::test]
async fn a_slow_receiver_is_left_to_the_slow_workers_without_a_failure() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0], &ids[1], &ids[0]]).await;
    let claims = world.claim(stream, now()).await;
    assert_eq!(claims.len(), 2);
    let step = world.step(stream, &[result(&claims[0], DeliveryEnd::Released)], at(1.0)).await;
    assert!(step.is_slow && step.claims.is_empty());
    let step = world.step(stream, &[result(&claims[1], DeliveryEnd::Released)], at(1.0)).await;
    assert!(step.is_over && step.claims.is_empty());
    assert_eq!(step.hint_at, Some(at(1.0)), "for a slow worker");
    assert_eq!(world.rows().await, "1:0 2:0 3:0");
    assert_eq!(world.subscription(stream.subscription_id, "failing_since").await, "");
    let slow = Demand { is_slow: true, ..WANTS };
    let step = world.exchange(stream, &[], slow, at(2.0)).await.unwrap();
    assert_eq!(positions(&step.claims), [1, 2], "in order, before new ones");
    // Attempts that take long keep it slow, also if they succeed.
    let took_long: Vec<_> = delivered(&step.claims)
        .into_iter()
        .map(|done| DeliveryResult { duration_ms: 3_000, ..done })
        .collect();
    let step = world.exchange(stream, &took_long, slow, at(300.0)).await.unwrap();
    assert_eq!(positions(&step.claims), [3]);
    world.record(stream, &delivered(&step.claims), at(301.0)).await;
    assert_eq!(world.stream(stream, "slow_until = '2026-11-01 12:15Z'").await, "t");
    world.emit(&[&ids[0]]).await;
    assert_eq!(world.claim(stream, at(899.0)).await, []);
    assert_eq!(positions(&world.claim(stream, at(900.0)).await), [4]);
}

#[tokio::test]
async fn a_failing_subscription_is_warned_about_twice_and_then_disabled() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("").await;
    let id = stream.subscription_id;
    world.emit(&[&ids[0]]).await;
    let first = world.claim(stream, now()).await;
    world.record(stream, &[rejected(&first[0], None)], now()).await;
    let mut judged = Vec::new();
    for hours in [1, 59, 60, 61, 107, 108, 109, 119, 120, 121] {
        for found in deliveries::judge(&world.db, DAYS, at(f64::from(hours) * 3600.0)).await.unwrap() {
            judged.push((hours, found));
        }
    }
    let expected = [(60, 50), (108, 90), (120, 100)]
        .map(|(hours, percent)| (hours, Judged { subscription_id: id, percent }));
    assert_eq!(judged, expected);
    assert_eq!(world.subscription(id, "status, disabled_reason").await, "disabled failing");
    let warnings = world.bodies_of("subscription.warning").await;
    let event: ServiceEvent<SubscriptionWarning> = serde_json::from_str(&warnings[1]).unwrap();
    let expected = SubscriptionWarning {
        subscription_id: id,
        percent: 90,
        failing_since: now(),
        disabled_at: at(432_000.0),
    };
    assert_eq!(
        (&event.data, event.timestamp, event.r#type),
        (&expected, at(388_800.0), EventType::SubscriptionWarning)
    );
    assert_eq!(serde_json::to_string(&event).unwrap(), warnings[1]);
    assert_eq!(world.bodies_of("subscription.disabled").await.len(), 1);
    let columns =
        "select count(*) from sms_events where subscription_id is not null and conversation_id is null";
    assert_eq!(world.scalar(columns).await, "3");
}

#[tokio::test]
async fn a_success_between_warnings_starts_again() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("failing_since = '2026-11-01 12:00Z', warned_percent = 50").await;
    world.emit(&[&ids[0]]).await;
    let claims = world.claim(stream, now()).await;
    world.record(stream, &delivered(&claims), now()).await;
    assert_eq!(world.subscription(stream.subscription_id, "failing_since, warned_percent").await, "0");
    assert_eq!(deliveries::judge(&world.db, DAYS, at(432_000.0)).await.unwrap(), []);
}

#[tokio::test]
async fn the_secret_before_a_rotation_is_returned_until_its_time_and_then_removed() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream =
        world.subscribe("previous_secret = 'whsec_b2xk', previous_until = '2026-11-01 12:01Z'").await;
    world.emit(&[&ids[0]]).await;
    let secrets = async |time| {
        let step = world.step(stream, &[], time).await;
        step.secrets.iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(secrets(at(59.0)).await, [testing::SUBSCRIPTION_SECRET, "whsec_b2xk"]);
    deliveries::forget_secrets(&world.db, at(59.0)).await.unwrap();
    assert_eq!(world.subscription(stream.subscription_id, "previous_secret").await, "whsec_b2xk");
    assert_eq!(secrets(at(60.0)).await, [testing::SUBSCRIPTION_SECRET]);
    deliveries::forget_secrets(&world.db, at(60.0)).await.unwrap();
    assert_eq!(world.subscription(stream.subscription_id, "previous_secret, previous_until").await, "");
}
