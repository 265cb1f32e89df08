//! Hints: each stream with work has a worker, a hint or a time at which it gets one, and no more than it needs.

use super::{Demand, HINT_EVERY, WANTS, World, at, delivered, positions, rejected};
use crate::now;
use common::db::deliveries::{self, DueStream};

#[tokio::test]
async fn a_stream_is_hinted_once_until_a_worker_has_left_it() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("").await;
    let emit = async |time| {
        world.write(&[&ids[0]]).await;
        world.compare(time).await.len()
    };
    assert_eq!(emit(at(0.0)).await, 1);
    assert_eq!(emit(at(1.0)).await, 0, "the hint is on the queue");
    let first = world.step(stream, &[], at(2.0)).await;
    assert!(!first.is_over);
    assert_eq!(emit(at(3.0)).await, 0, "the worker claims again");
    let second = world.step(stream, &delivered(&first.claims), at(4.0)).await;
    let third = world.step(stream, &delivered(&second.claims), at(5.0)).await;
    assert_eq!(positions(&third.claims), [3]);
    let last = world.step(stream, &delivered(&third.claims), at(6.0)).await;
    assert!(last.is_over && last.hint_at.is_none());
    assert_eq!(emit(at(7.0)).await, 1, "the worker has left");
    assert_eq!(emit(at(66.0)).await, 0);
    assert_eq!(emit(at(67.5)).await, 1, "the hint is lost");
}

#[tokio::test]
async fn a_worker_at_the_end_of_its_time_leaves_a_hint() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0], &ids[1], &ids[0]]).await;
    let first = world.claim(stream, now()).await;
    let ends = Demand { wanted: 0, in_flight: 1, is_slow: false };
    let step = world.exchange(stream, &delivered(&first[..1]), ends, at(1.0)).await.unwrap();
    assert!(!step.is_over && step.claims.is_empty() && step.hint_at.is_none(), "an attempt is in flight");
    let step = world.record(stream, &delivered(&first[1..]), at(2.0)).await;
    assert!(step.is_over);
    assert_eq!(step.hint_at, Some(at(2.0)));
    assert_eq!(world.stream(stream, "hinted_at = '2026-11-01 12:00:02Z'").await, "t");
}

#[tokio::test]
async fn work_that_is_due_soon_gets_one_delayed_hint_and_work_after_the_longest_delay_none() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("max_hold_seconds = 3600").await;
    world.emit(&[&ids[0]]).await;
    let first = world.claim(stream, now()).await;
    let step = world.record(stream, &[rejected(&first[0], Some(at(200.0)))], at(1.0)).await;
    assert_eq!((step.is_over, step.hint_at), (true, Some(at(200.0))));
    // Other events do not send it again.
    world.emit(&[&ids[1]]).await;
    let other = world.claim(stream, at(2.0)).await;
    let step = world.step(stream, &delivered(&other), at(3.0)).await;
    assert_eq!((step.is_over, step.hint_at), (true, None));
    // It arrives, the attempt fails, and the next one is too late for a delayed hint.
    let again = world.claim(stream, at(200.0)).await;
    let step = world.record(stream, &[rejected(&again[0], Some(at(2_000.0)))], at(201.0)).await;
    assert_eq!((step.is_over, step.hint_at), (true, None));
    let due = async |time| deliveries::due(&world.db, HINT_EVERY, 100, time).await.unwrap();
    assert_eq!(due(at(1_999.0)).await, []);
    let expected = DueStream { subscription_id: stream.subscription_id, kind: stream.kind, is_slow: false };
    assert_eq!(due(at(2_000.0)).await, [expected], "the sweep finds it");
    assert_eq!(due(at(2_030.0)).await, []);
    assert_eq!(due(at(2_061.0)).await.len(), 1, "the hint of the sweep was lost");
}

#[tokio::test]
async fn the_sweep_finds_the_work_of_lost_hints_and_dead_workers_and_leaves_out_what_waits() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let lost = world.subscribe("").await;
    let dead = world.subscribe("").await;
    let paused = world.subscribe("").await;
    let disabled = world.subscribe("").await;
    let idle = world.subscribe("event_types = '{message.received}'").await;
    world.emit(&[&ids[0]]).await;
    world.claim(dead, at(11.0)).await;
    for (stream, change) in [(paused, "paused_until = '2026-11-01 13:00Z'"), (idle, "hinted_at = null")] {
        world
            .run(&format!(
                "update sms_delivery_streams set {change} where subscription_id = '{}'",
                stream.subscription_id
            ))
            .await;
    }
    world
        .run(&format!(
            "update sms_subscriptions set status = 'disabled' where id = '{}'",
            disabled.subscription_id
        ))
        .await;
    let due = async |time| {
        let mut found: Vec<_> = deliveries::due(&world.db, HINT_EVERY, 100, time)
            .await
            .unwrap()
            .iter()
            .map(DueStream::stream)
            .collect();
        found.sort_by_key(|stream| stream.subscription_id);
        found
    };
    assert_eq!(due(at(60.5)).await, [lost], "the other was seen more recently");
    assert_eq!(due(at(71.5)).await, [dead]);
    let streams = [lost, dead];
    deliveries::not_hinted(&world.db, &streams).await.unwrap();
    assert_eq!(due(at(72.0)).await, streams, "hints that could not be sent");
}

#[tokio::test]
async fn a_worker_that_is_not_needed_leaves_without_a_hint() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0]; 2]).await;
    world.claim(stream, now()).await;
    let step = world.step(stream, &[], at(1.0)).await;
    assert!(step.is_over && step.claims.is_empty());
    assert_eq!(step.hint_at, Some(at(30.0)), "when the lease of the other worker ends");
    let step = world.exchange(stream, &[], Demand { is_slow: true, ..WANTS }, at(2.0)).await.unwrap();
    assert_eq!(step.hint_at, None, "it was sent");
    world.run("delete from sms_subscriptions").await;
    assert!(world.exchange(stream, &[], WANTS, at(3.0)).await.is_none());
}
