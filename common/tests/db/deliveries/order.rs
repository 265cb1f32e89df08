//! The order of a conversation, and how long an earlier event holds back later ones.

use super::{World, at, delivered, positions, rejected};
use crate::now;

#[tokio::test]
async fn conversations_are_delivered_in_order_and_next_to_each_other() {
    let world = World::start().await;
    let ids = world.conversations(3).await;
    let stream = world.subscribe("max_in_flight = 2").await;
    let [a, b, c] = [&ids[0], &ids[1], &ids[2]];
    world.emit(&[a, a, b, c, b]).await;
    let first = world.claim(stream, now()).await;
    assert_eq!(positions(&first), [1, 3], "the second of A waits, the first of B starts");
    assert_eq!(world.rows().await, "1:0* 2:0 3:0*");
    let second = world.step(stream, &delivered(&first[..1]), at(1.0)).await.claims;
    assert_eq!(positions(&second), [2], "one is in flight already");
    let third = world.step(stream, &delivered(&first[1..]), at(2.0)).await.claims;
    assert_eq!(positions(&third), [4]);
    let fourth = world.step(stream, &delivered(&[second, third].concat()), at(3.0)).await.claims;
    assert_eq!(positions(&fourth), [5]);
    let last = world.step(stream, &delivered(&fourth), at(4.0)).await;
    assert!(last.is_over && last.claims.is_empty());
    assert_eq!(world.rows().await, "");
    assert_eq!(world.stream(stream, "position, target").await, "5 5");
}

#[tokio::test]
async fn a_rejected_event_delays_only_its_conversation_and_only_for_max_hold_seconds() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("max_hold_seconds = 100").await;
    let [bad, good] = [&ids[0], &ids[1]];
    world.emit(&[bad, good, bad, good, bad]).await;
    let first = world.claim(stream, now()).await;
    assert_eq!(positions(&first), [1, 2]);
    let results = [vec![rejected(&first[0], Some(at(5.0)))], delivered(&first[1..])].concat();
    let next = world.step(stream, &results, at(0.5)).await.claims;
    assert_eq!(positions(&next), [4], "the other conversation continues at once");
    assert_eq!(world.step(stream, &delivered(&next), at(1.0)).await.claims, []);
    assert_eq!(world.rows().await, "1:1 3:0 5:0");

    let retry = world.claim(stream, at(5.0)).await;
    assert_eq!(positions(&retry), [1], "at its next attempt, with its original position");
    assert_eq!((retry[0].attempts, &retry[0].event_id), (1, &first[0].event_id));
    world.record(stream, &[rejected(&retry[0], Some(at(300.0)))], at(6.0)).await;
    // Held since the first failure, at 0.5 seconds.
    assert_eq!(world.claim(stream, at(100.0)).await, []);
    assert_eq!(
        world.stream(stream, "extract(epoch from next_due_at - '2026-11-01 12:00Z')::int").await,
        "101"
    );
    let released = world.claim(stream, at(100.5)).await;
    assert_eq!(positions(&released), [3], "the others follow in their order");
    assert_eq!(world.claim(stream, at(101.0)).await, [], "one at a time");
    let last = world.step(stream, &delivered(&released), at(102.0)).await.claims;
    assert_eq!(positions(&last), [5]);
    // A new event does not wait either, but the late one is not sent next to it.
    world.record(stream, &delivered(&last), at(103.0)).await;
    world.write(&[bad]).await;
    world.compare(at(299.0)).await;
    let new = world.claim(stream, at(299.0)).await;
    assert_eq!(positions(&new), [6]);
    assert_eq!(world.claim(stream, at(300.0)).await, [], "the late one is due, and another is in flight");
    let late = world.step(stream, &delivered(&new), at(301.0)).await.claims;
    assert_eq!((positions(&late), late[0].attempts), (vec![1], 2));
    world.record(stream, &delivered(&late), at(302.0)).await;
    assert_eq!(world.rows().await, "");
}

#[tokio::test]
async fn without_a_hold_later_events_follow_after_the_first_failure() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("max_hold_seconds = 0").await;
    world.emit(&[&ids[0]; 2]).await;
    let first = world.claim(stream, now()).await;
    let next = world.step(stream, &[rejected(&first[0], Some(at(5.0)))], at(1.0)).await.claims;
    assert_eq!(positions(&next), [2]);
}

#[tokio::test]
async fn the_attempt_of_a_dead_worker_is_repeated_after_its_lease_before_later_events() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0]; 2]).await;
    let lost = world.claim(stream, now()).await;
    assert_eq!(positions(&lost), [1]);
    assert_eq!(world.claim(stream, at(29.0)).await, []);
    let again = world.claim(stream, at(30.0)).await;
    assert_eq!(
        (positions(&again), again[0].attempts),
        (vec![1], 0),
        "a crash is not a failure of the receiver"
    );
    // The first worker was only slow. Its failure is late, its success is true.
    world.record(stream, &[rejected(&lost[0], None)], at(31.0)).await;
    assert_eq!(world.rows().await, "1:0* 2:0");
    assert_eq!(world.scalar("select count(*) from sms_delivery_attempts").await, "0");
    world.record(stream, &delivered(&lost), at(32.0)).await;
    assert_eq!(world.rows().await, "2:0");
    world.record(stream, &[rejected(&again[0], Some(at(60.0)))], at(33.0)).await;
    assert_eq!(world.rows().await, "2:0", "it was delivered");
}

#[tokio::test]
async fn a_result_counts_once() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("").await;
    world.emit(&[&ids[0]]).await;
    let first = world.claim(stream, now()).await;
    for _ in 0..2 {
        world.record(stream, &[rejected(&first[0], Some(at(5.0)))], at(1.0)).await;
    }
    assert_eq!(world.rows().await, "1:1");
    let logged = "select string_agg(concat_ws(' ', attempt, status_code, error, response_body, duration_ms,
        next_attempt_at - attempted_at), ',') from sms_delivery_attempts";
    assert_eq!(world.scalar(logged).await, "1 500 status 500 no 7 00:00:05");
}

#[tokio::test]
async fn two_workers_have_at_most_max_in_flight_attempts() {
    let world = World::start().await;
    let ids = world.conversations(8).await;
    let stream = world.subscribe("max_in_flight = 5").await;
    world.emit(&ids.iter().collect::<Vec<_>>()).await;
    let demand = super::Demand { wanted: 3, ..super::WANTS };
    let one = world.exchange(stream, &[], demand, now()).await.unwrap().claims;
    let two = world.exchange(stream, &[], demand, now()).await.unwrap().claims;
    let three = world.exchange(stream, &[], demand, now()).await.unwrap();
    assert_eq!((positions(&one), positions(&two)), (vec![1, 2, 3], vec![4, 5]));
    assert_eq!(three.claims, []);
    assert!(three.is_over, "the others continue");
    assert_eq!(three.hint_at, Some(at(30.0)), "unless they have died");
    let next = world.step(stream, &delivered(&one[..2]), at(1.0)).await.claims;
    assert_eq!(positions(&next), [6, 7]);
}
