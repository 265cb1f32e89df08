//! Workers, writers and comparisons at once, with failures, crashes and lost responses.

use super::{HINT_EVERY, World, limits};
use common::clock;
use common::db::deliveries::{self, Claim, DeliveryEnd, DeliveryResult, Demand, Limits};
use common::db::{Db, events};
use common::domain::delivery::Stream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STREAMS: usize = 3;
const WORKERS: usize = 3;
const CONVERSATIONS: usize = 8;
const EVENTS: usize = 400;

/// What a receiver got: the sequences of each conversation, in the order of arrival.
type Ledger = Arc<Mutex<HashMap<(Stream, String), Vec<i64>>>>;

fn happens(share: f64) -> bool {
    clock::random_fraction() < share
}

fn quick() -> Limits {
    Limits { lease_seconds: 0.4, pause_seconds: 0.02, max_pause_seconds: 0.05, ..limits() }
}

fn receive(ledger: &Ledger, stream: Stream, claim: &Claim) {
    let body: serde_json::Value = serde_json::from_str(claim.body.as_deref().unwrap()).unwrap();
    let conversation = body["conversation_id"].as_str().unwrap().to_owned();
    let sequence = body["conversation_sequence"].as_i64().unwrap();
    ledger.lock().unwrap().entry((stream, conversation)).or_default().push(sequence);
}

/// Makes an attempt. Returns `None` if the worker crashes before or after the receiver got the event.
fn attempt(ledger: &Ledger, stream: Stream, claim: &Claim) -> Option<DeliveryResult> {
    let next_attempt_at = Some(clock::now() + Duration::from_millis(10));
    let end = if happens(0.1) {
        DeliveryEnd::Failed { next_attempt_at }
    } else if happens(0.05) {
        DeliveryEnd::Unavailable { next_attempt_at, retry_after_seconds: 0.0 }
    } else if happens(0.02) {
        return None;
    } else {
        receive(ledger, stream, claim);
        if happens(0.02) {
            return None;
        }
        DeliveryEnd::Delivered
    };
    Some(DeliveryResult { attempted_at: clock::now(), ..super::result(claim, end) })
}

async fn work(db: Db, stream: Stream, ledger: Ledger, limits: Limits, done: Arc<Mutex<bool>>) {
    let mut results: Vec<DeliveryResult> = Vec::new();
    while !*done.lock().unwrap() {
        let demand = Demand { wanted: 4, in_flight: 0, is_slow: false };
        let step = deliveries::exchange(&db, stream, &results, demand, &limits, clock::now())
            .await
            .unwrap()
            .unwrap();
        tokio::time::sleep(Duration::from_millis((clock::random_fraction() * 8.0) as u64)).await;
        results = step.claims.iter().filter_map(|claim| attempt(&ledger, stream, claim)).collect();
        if step.claims.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_reaches_every_receiver_in_order_whatever_workers_do() {
    let world = World::start().await;
    let ids = world.conversations(CONVERSATIONS).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        // Nothing is announced as late, so the order must be complete.
        streams.push(world.subscribe("max_hold_seconds = 3600, max_in_flight = 5").await);
    }
    let (ledger, done): (Ledger, Arc<Mutex<bool>>) = Default::default();
    let mut tasks = Vec::new();
    for stream in streams.iter().cycle().take(STREAMS * WORKERS) {
        let (db, ledger, done) = (world.database.db(), ledger.clone(), done.clone());
        tasks.push(tokio::spawn(work(db, *stream, ledger, quick(), done)));
    }
    let comparer = {
        let (db, done) = (world.database.db(), done.clone());
        tokio::spawn(async move {
            while !*done.lock().unwrap() {
                events::number(&db).await.unwrap();
                deliveries::match_events(&db, HINT_EVERY, clock::now()).await.unwrap();
            }
        })
    };
    for n in 0..EVENTS {
        world.write(&[&ids[n * 7 % CONVERSATIONS]]).await;
    }
    testing::eventually("everything is delivered", async || {
        let left = "select count(*) + (select count(*) from sms_events_pending)
                + (select count(*) from sms_match_counter c, sms_event_counter e where c.position < e.last_position)
                + (select count(*) from sms_delivery_streams where position < target) from sms_deliveries";
        (world.scalar(left).await == "0").then_some(())
    })
    .await;
    *done.lock().unwrap() = true;
    for task in tasks {
        task.await.unwrap();
    }
    comparer.await.unwrap();
    let ledger = ledger.lock().unwrap();
    assert_eq!(ledger.len(), STREAMS * CONVERSATIONS);
    for ((stream, conversation), got) in ledger.iter() {
        // After a crash an event arrives again, before any later one.
        let mut order = got.clone();
        order.dedup();
        let all: Vec<i64> = (1..=(EVENTS / CONVERSATIONS) as i64).collect();
        assert_eq!(order, all, "{stream:?} {conversation}");
    }
}

/// A comparison that did not see that a subscription is active must not skip events for it.
#[tokio::test(flavor = "multi_thread")]
async fn enabling_during_comparisons_skips_no_event() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let stream = world.subscribe("status = 'disabled'").await;
    for round in 0..30 {
        let before: i64 = world.stream(stream, "target").await.parse().unwrap();
        let comparer = {
            let db = world.database.db();
            tokio::spawn(async move {
                for _ in 0..5 {
                    events::number(&db).await.unwrap();
                    deliveries::match_events(&db, HINT_EVERY, clock::now()).await.unwrap();
                }
            })
        };
        let client = testing::connect(&world.database.url()).await;
        let resume = format!("select sms_resume_subscription('{}', now())", stream.subscription_id);
        let enabler = tokio::spawn(async move { client.batch_execute(&resume).await.unwrap() });
        for _ in 0..3 {
            world.write(&[&ids[0]]).await;
        }
        comparer.await.unwrap();
        enabler.await.unwrap();
        world.compare(clock::now()).await;
        let state = world.stream(stream, "position, target").await;
        assert_eq!(state, format!("{before} {}", before + 3), "round {round}");
        world.run("update sms_subscriptions set status = 'disabled'; update sms_delivery_streams set position = target")
            .await;
    }
}
