//! Fast and slow receivers, budgets, and several workers of one stream.

use crate::world::{World, after_ms, hint, status, succeeds, written};
use serde_json::json;
use std::time::Instant;
use testing::batch;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_costs_a_fast_worker_little_and_gets_its_full_time_from_a_slow_one() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    let fast = world.database.conversations(1).await;
    world.write(&[0, 0]).await;
    world.receiver.behave(|_| after_ms(3_000));
    let mut function = world.function_with(&[("EVENTS_FAST_TIMEOUT_MS", "500")]).await;
    let begun = Instant::now();
    succeeds(&mut function, &[written()]).await;
    assert!(begun.elapsed().as_millis() < 2_500, "{:?}", begun.elapsed());
    assert_eq!(
        world.database.scalar("select count(*) from sms_delivery_attempts").await,
        "0",
        "not a failure"
    );
    let slow = json!({"version": "2", "subscription_id": id, "kind": "live", "slow": true});
    assert_eq!(world.queued("slow-events"), [(slow.clone(), 0)]);
    assert_eq!(world.queued("events"), []);
    assert_eq!(function.metric("deliveries_released").await, 1.0);
    // A fast worker that gets an old hint leaves it alone.
    succeeds(&mut function, &[hint(&id)]).await;
    assert_eq!(world.receiver.received().len(), 1);
    succeeds(&mut function, &[slow]).await;
    assert_eq!(world.receiver.sequences(), [1, 1, 2]);
    assert_eq!(world.undelivered().await, "0");
    // Its next events go to the slow workers at once.
    world.database.write_events(&[&fast[0]]).await;
    succeeds(&mut function, &[written()]).await;
    assert_eq!(world.receiver.received().len(), 3);
    assert_eq!(world.queued("slow-events").len(), 3, "two hints of fast workers, and one of the comparison");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_is_unavailable_and_delays_no_other() {
    let world = World::start().await;
    let hanging = world.subscribe("event_types = '{message.status}'").await;
    world.write(&[0]).await;
    world.receiver.behave(|_| after_ms(60_000));
    let times = [("EVENTS_FAST_TIMEOUT_MS", "300"), ("EVENTS_ATTEMPT_TIMEOUT_MS", "900")];
    let mut function = world.function_with(&times).await;
    succeeds(&mut function, &[written()]).await;
    let slow = json!({"version": "2", "subscription_id": hanging, "kind": "live", "slow": true});
    succeeds(&mut function, &[slow]).await;
    let state = "select concat_ws(' ', error, status_code) from sms_delivery_attempts";
    assert_eq!(world.database.scalar(state).await, "no response within 900 ms");
    let paused = "select failures || ' ' || (paused_until > now()) from sms_delivery_streams";
    assert_eq!(world.database.scalar(paused).await, "1 true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_at_the_end_of_its_budget_records_its_attempts_and_leaves_a_hint() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write(&[0; 30]).await;
    world.receiver.behave(|_| after_ms(40));
    let mut function = world.function_with(&[("EVENTS_RUN_BUDGET_MS", "300")]).await;
    let mut runs = 0;
    let mut message = written();
    while world.receiver.received().len() < 30 {
        succeeds(&mut function, &[message]).await;
        runs += 1;
        let in_flight = "select count(*) from sms_deliveries where leased_until is not null";
        assert_eq!(world.database.scalar(in_flight).await, "0");
        let queued = world.queued("events");
        let is_over = world.receiver.received().len() == 30;
        assert!(queued.len() == runs || (is_over && queued.len() == runs - 1), "{queued:?}");
        message = hint(&id);
    }
    assert!(runs > 2, "{runs}");
    assert_eq!(world.receiver.sequences(), (1..=30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_do_not_exceed_max_in_flight_and_keep_the_order() {
    let world = World::start().await;
    let id = world.subscribe("max_in_flight = 3").await;
    let ids = world.database.conversations(8).await;
    for _ in 0..6 {
        world.database.write_events(&ids.iter().collect::<Vec<_>>()).await;
    }
    world.receiver.behave(|_| after_ms(15));
    let mut functions = [world.function().await, world.function().await, world.function().await];
    succeeds(&mut functions[0], &[json!({"version": "1"})]).await;
    for _ in 0..6 {
        world.database.write_events(&ids.iter().collect::<Vec<_>>()).await;
    }
    // The comparison counts as a hint, so that the function does not deliver before the others.
    world.database.number_events().await;
    world.database.scalar("select count(*) from sms_match_events(1000, now(), now())").await;
    let [one, two, three] = &mut functions;
    tokio::join!(
        one.call(batch(&[hint(&id)])),
        two.call(batch(&[hint(&id)])),
        three.call(batch(&[hint(&id)]))
    );
    assert_eq!(world.undelivered().await, "0");
    assert_eq!(world.receiver.received().len(), 96);
    assert!(world.receiver.most_at_once() <= 3, "{}", world.receiver.most_at_once());
    for id in &ids {
        let received = world.receiver.received();
        let of = received.iter().filter(|request| request.event()["conversation_id"] == id.as_str());
        assert_eq!(
            of.map(crate::world::Received::sequence).collect::<Vec<_>>(),
            (1..=12).collect::<Vec<_>>()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_listen_is_unavailable() {
    let world = World::start().await;
    world.database.subscribe("http://127.0.0.1:1/", "").await;
    world.subscribe("").await;
    world.write(&[0]).await;
    world.receiver.behave(|_| status(200));
    let mut function = world.function().await;
    succeeds(&mut function, &[written()]).await;
    assert_eq!(world.receiver.sequences(), [1]);
    let state = "select string_agg(failures || ' ' || (paused_until > now()), ',' order by failures)
        from sms_delivery_streams";
    assert_eq!(world.database.scalar(state).await, "0 false,1 true");
}
