//! Stored state grows with what is undelivered, and no statement reads the whole log.

use super::{World, at, delivered, positions, rejected};
use crate::now;

/// Fills the log with events of other workflows, one conversation each.
async fn fill(world: &World, number: u32) {
    world
        .run(&format!(
            "insert into sms_events (
                 id, position, event_type, conversation_id, tenant_id, workflow_type, body, created_at)
             select sms_new_id(), c.last_position + n, 'message.received', gen_random_uuid(), 'T-9', 'other',
                 '{{}}', now()
             from sms_event_counter c, generate_series(1, {number}) n;
             update sms_event_counter set last_position = last_position + {number};
             analyze sms_events"
        ))
        .await;
}

#[tokio::test]
async fn a_dead_receiver_has_rows_for_a_thousand_events_and_is_full() {
    let world = World::start().await;
    let stream = world.subscribe("").await;
    fill(&world, 5_000).await;
    world.compare(now()).await;
    let mut time = 0.0;
    // Each attempt is rejected, so no pause limits the rows.
    let mut results = Vec::new();
    loop {
        let step = world.step(stream, &results, at(time)).await;
        results = step.claims.iter().map(|claim| rejected(claim, Some(at(100_000.0)))).collect();
        time += 0.001;
        if results.is_empty() && step.is_over {
            break;
        }
    }
    assert_eq!(world.scalar("select count(*) from sms_deliveries").await, "1000");
    assert_eq!(world.stream(stream, "position, target, is_full").await, "1000 5000 t");
    fill(&world, 10).await;
    assert_eq!(world.compare(at(time + 60.0)).await, [], "new events do not wake a worker in vain");
    assert_eq!(world.stream(stream, "target").await, "5010");
    // One delivery makes room for one.
    let retry = world.claim(stream, at(100_000.0)).await;
    assert_eq!(retry.len(), 10);
    world.record(stream, &delivered(&retry[..1]), at(100_001.0)).await;
    assert_eq!(world.stream(stream, "is_full").await, "f");
}

#[tokio::test]
async fn held_events_of_one_conversation_do_not_stop_others() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    let stream = world.subscribe("max_hold_seconds = 3600").await;
    world.emit(&[&ids[0]]).await;
    let first = world.claim(stream, now()).await;
    world.record(stream, &[rejected(&first[0], Some(at(1_000.0)))], now()).await;
    for _ in 0..3 {
        world.write(&[&ids[0]; 100]).await;
    }
    world.emit(&[&ids[1]]).await;
    let mut found = Vec::new();
    let mut steps = 0;
    while found.is_empty() {
        let step = world.step(stream, &[], at(1.0)).await;
        assert!(!step.is_over && steps < 50, "a claim that reads only held events continues: {step:?}");
        found = positions(&step.claims);
        steps += 1;
    }
    assert_eq!(found, [302]);
    assert_eq!(world.scalar("select count(*) from sms_deliveries").await, "302");
}

/// Returns how many rows of a table or its partitions were read so far.
async fn reads(world: &World, like: &str) -> i64 {
    world.scalar("select pg_stat_force_next_flush()").await;
    let client = testing::connect(&world.database.url()).await;
    let read = "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int8
        from pg_stat_user_tables where relname like $1";
    client.query_one(read, &[&like]).await.unwrap().get(0)
}

/// Waits until the statistics of the pool's connections are reported.
async fn settle(world: &World) {
    use common::db::Statement;
    const FLUSH: Statement<()> =
        Statement::new("report statistics", "select from pg_stat_force_next_flush()");
    world.db.query(&FLUSH, &[]).await.unwrap();
}

#[tokio::test]
async fn a_comparison_and_a_claim_read_new_events_and_not_the_log() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    fill(&world, 50_000).await;
    world.run("update sms_match_counter set position = 50000").await;
    let stream = world.subscribe("").await;
    for _ in 0..50 {
        world.subscribe("event_types = '{message.received}'").await;
    }
    // A connection keeps plans after five executions.
    for round in 0..10 {
        world.write(&[&ids[0]]).await;
        settle(&world).await;
        let before = reads(&world, "sms_events%").await;
        world.compare(at(f64::from(round))).await;
        let step = world.step(stream, &[], at(f64::from(round))).await;
        assert_eq!(step.claims.len(), 1);
        let step = world.step(stream, &delivered(&step.claims), at(f64::from(round))).await;
        assert!(step.is_over);
        settle(&world).await;
        let read = reads(&world, "sms_events%").await - before;
        assert!(read < 60, "round {round}: {read} events were read");
    }
}

#[tokio::test]
async fn a_claim_with_a_rare_filter_examines_a_range_and_continues() {
    let mut world = World::start().await;
    world.limits.max_range = 1_000;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("workflow_type = 'rare'").await;
    world.run(&format!("update sms_conversations set workflow_type = 'rare' where id = '{}'", ids[0])).await;
    world.emit(&[&ids[0]]).await;
    fill(&world, 2_500).await;
    world.emit(&[&ids[0]]).await;
    let first = world.claim(stream, now()).await;
    assert_eq!(positions(&first), [1]);
    let mut places = Vec::new();
    let mut step = world.step(stream, &delivered(&first), now()).await;
    while step.claims.is_empty() {
        places.push(world.stream(stream, "position").await);
        assert_eq!((step.is_over, step.resume_at), (false, Some(now())));
        step = world.step(stream, &[], now()).await;
    }
    assert_eq!(places, ["2000"], "the first claim has searched a range too");
    assert_eq!(positions(&step.claims), [2502]);
}
