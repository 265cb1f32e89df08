//! Replays: another place in the log with its own rate, which live deliveries do not notice.

use super::{WANTS, World, at, delivered, positions, rejected};
use crate::now;
use common::db::deliveries;
use common::domain::delivery::{Stream, StreamKind};

async fn replay(world: &World, live: Stream, after: i64, types: &str) -> Stream {
    world
        .run(&format!(
            "insert into sms_delivery_streams (subscription_id, kind, position, target, types)
             select '{}', 'replay', {after}, last_position, '{types}' from sms_event_counter",
            live.subscription_id
        ))
        .await;
    Stream { kind: StreamKind::Replay, ..live }
}

#[tokio::test]
async fn a_replay_has_its_own_position_and_rate_and_ends_by_itself() {
    let mut world = World::start().await;
    world.limits.replay_per_second = 10.0;
    let ids = world.conversations(2).await;
    let live = world.subscribe("max_in_flight = 2").await;
    for _ in 0..3 {
        world.emit(&[&ids[0], &ids[1]]).await;
    }
    for round in 0..3 {
        let claims = world.claim(live, at(f64::from(round))).await;
        world.record(live, &delivered(&claims), at(f64::from(round))).await;
    }
    assert_eq!(world.stream(live, "position, target").await, "6 6");

    let replay = replay(&world, live, 2, "{}").await;
    world.emit(&[&ids[0]]).await;
    let first = world.step(replay, &[], at(10.0)).await;
    assert_eq!(positions(&first.claims), [3, 4]);
    assert_eq!(first.resume_at, None, "its slots are taken");
    assert_eq!(positions(&world.claim(live, at(10.0)).await), [7], "live events have their own slots");
    let second = world.step(replay, &delivered(&first.claims), at(10.1)).await;
    assert_eq!((second.claims.len(), second.is_over), (0, false));
    assert_eq!(second.resume_at, Some(at(10.2)), "two events, ten per second");
    let third = world.step(replay, &[], at(10.2)).await;
    assert_eq!(positions(&third.claims), [5, 6]);
    assert!(world.exchange(replay, &delivered(&third.claims), WANTS, at(10.3)).await.is_none(), "complete");
    assert_eq!(world.stream(live, "position").await, "7");
    assert_eq!(world.scalar("select count(*) from sms_delivery_streams").await, "1");
}

#[tokio::test]
async fn a_replay_can_be_narrowed_to_types_and_a_rejected_event_delays_its_end() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let live = world.subscribe("").await;
    world.emit(&[&ids[0]]).await;
    world
        .run(&format!(
            "select sms_emit_events('{{message.failed}}', '{{{}}}', array[null::uuid], array['{{}}'], now())",
            ids[0]
        ))
        .await;
    world.compare(now()).await;
    let only = replay(&world, live, 0, "{message.failed}").await;
    let claims = world.claim(only, now()).await;
    assert_eq!(positions(&claims), [2]);
    let step = world.record(only, &[rejected(&claims[0], Some(at(5.0)))], at(1.0)).await;
    assert_eq!((step.is_over, step.hint_at), (true, Some(at(5.0))));
    let again = world.claim(only, at(5.0)).await;
    assert!(world.exchange(only, &delivered(&again), WANTS, at(6.0)).await.is_none());
    // One that finds nothing also ends, and so does one whose worker died at its end.
    let none = replay(&world, live, 0, "{message.received}").await;
    assert!(world.exchange(none, &[], WANTS, at(7.0)).await.is_none());
    replay(&world, live, 2, "{}").await;
    deliveries::end_replays(&world.db).await.unwrap();
    assert_eq!(world.scalar("select string_agg(kind, ' ') from sms_delivery_streams").await, "live");
}

#[tokio::test]
async fn a_replay_begins_at_the_first_kept_event() {
    let mut world = World::start().await;
    world.limits.max_range = 2;
    let ids = world.conversations(1).await;
    let live = world.subscribe("").await;
    world.emit(&[&ids[0]; 9]).await;
    world.run("delete from sms_events where position < 7").await;
    let replay = replay(&world, live, 0, "{}").await;
    assert_eq!(positions(&world.claim(replay, now()).await), [7]);
}
