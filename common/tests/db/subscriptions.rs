//! Subscriptions: repeated statements, access by key, the start of a replay, and locks next to workers.

use crate::now;
use common::clock;
use common::config::Secret;
use common::db::subscriptions::{self, Changes, NewSubscription, Replay, Started};
use common::domain::subscription::SubscriptionStatus;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use testing::{Database, OTHER_KEY_ID, eventually, new_subscription};
use uuid::Uuid;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn start() -> (Database, NewSubscription) {
    let database = Database::create().await;
    let new = new_subscription("https://a.example/hook");
    subscriptions::create(&database.db(), &new).await.unwrap().unwrap();
    (database, new)
}

fn other_key() -> Option<Uuid> {
    OTHER_KEY_ID.parse().ok()
}

/// Stores an event with an id of a time.
async fn event(database: &Database, position: i64, at: Timestamp) {
    let sql = format!(
        "insert into sms_events (id, position, event_type, body, created_at) \
         select (left(sms_first_id('{at}')::text, 24) || lpad('{position}', 12, '0'))::uuid, {position}, \
             'message.status', '{{}}', '{at}'"
    );
    database.client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_repeated_creation_returns_the_same_subscription_and_keeps_its_place() {
    let (database, new) = start().await;
    let moved = "update sms_event_counter set last_position = 9";
    database.client.batch_execute(moved).await.unwrap();
    let again = subscriptions::create(&database.db(), &new).await.unwrap().unwrap();
    assert_eq!(
        (again.id, again.status, again.created_at),
        (new.id, SubscriptionStatus::Active, new.created_at)
    );
    let rows = "select concat_ws(' ', (select count(*) from sms_subscriptions), count(*), min(position), min(target)) \
                from sms_delivery_streams";
    assert_eq!(database.scalar(rows).await, "1 1 0 0");
}

#[tokio::test]
async fn a_repeated_rotation_keeps_the_secret_before_it() {
    let (database, new) = start().await;
    let db = database.db();
    let (second, until) = (Secret::new("whsec_c2Vjb25k"), now() + HOUR);
    for _ in 0..2 {
        subscriptions::rotate(&db, new.id, None, &second, until, now()).await.unwrap().unwrap();
    }
    let secrets = |at: Timestamp| {
        let (db, id) = (db.clone(), new.id);
        async move { subscriptions::find(&db, id, None, at).await.unwrap().unwrap().1 }
    };
    assert_eq!(secrets(now()).await, [second.clone(), new.secret.clone()]);
    assert_eq!(secrets(until).await, std::slice::from_ref(&second), "the grace period is over");

    let third = Secret::new("whsec_dGhpcmQ=");
    subscriptions::rotate(&db, new.id, None, &third, until, now()).await.unwrap().unwrap();
    assert_eq!(secrets(now()).await, [third.clone(), second], "the oldest one no longer signs");
    subscriptions::rotate(&db, new.id, None, &Secret::new("whsec_Zm91cnRo"), now(), now()).await.unwrap();
    assert_eq!(secrets(now()).await, [Secret::new("whsec_Zm91cnRo")], "no grace period");
}

#[tokio::test]
async fn another_key_neither_finds_nor_changes_a_subscription() {
    let (database, new) = start().await;
    let (db, other) = (database.db(), other_key());
    let before = database.scalar("select s::text from sms_subscriptions s").await;
    assert_eq!(subscriptions::list(&db, other, None, 10).await.unwrap(), []);
    assert!(subscriptions::find(&db, new.id, other, now()).await.unwrap().is_none());
    let changes = Changes { max_in_flight: Some(1), destination: Some((None, None)), ..Changes::default() };
    assert_eq!(subscriptions::update(&db, new.id, other, &changes, now()).await.unwrap(), None);
    let secret = Secret::new("whsec_eA==");
    assert_eq!(subscriptions::rotate(&db, new.id, other, &secret, now() + HOUR, now()).await.unwrap(), None);
    assert!(!subscriptions::delete(&db, new.id, other).await.unwrap());
    assert_eq!(database.scalar("select s::text from sms_subscriptions s").await, before);
    assert_eq!(database.scalar("select count(*) from sms_delivery_streams").await, "1");
    assert!(subscriptions::find(&db, new.id, Some(new.api_key_id), now()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_replay_begins_at_the_first_position_of_the_events_since_a_time() {
    let (database, _) = start().await;
    let db = database.db();
    assert_eq!(subscriptions::first_since(&db, now()).await.unwrap(), None);
    let seconds = |seconds: f64| now() + SignedDuration::from_secs_f64(seconds);
    // Written at 0, 59 and 61 seconds; the one of 59 seconds was committed first.
    for (position, at) in [(4, 0.0), (2, 59.0), (3, 61.0), (9, 3_600.0)] {
        event(&database, position, seconds(at)).await;
    }
    for (since, expected) in [
        (-86_400.0, Some(2)),
        (0.0, Some(2)),
        // Begins a minute at the event of 59 seconds.
        (0.001, Some(2)),
        (59.001, Some(3)),
        (62.0, Some(9)),
        (3_600.0, Some(9)),
        (3_600.001, None),
    ] {
        assert_eq!(subscriptions::first_since(&db, seconds(since)).await.unwrap(), expected, "{since}");
    }
}

#[tokio::test]
async fn one_of_many_concurrent_requests_starts_a_replay() {
    let (database, new) = start().await;
    let replay = Replay { subscription_id: new.id, after: 1, until: 5, types: Vec::new() };
    let starting = (0..8).map(|_| {
        let (db, replay) = (database.db(), replay.clone());
        async move { subscriptions::start_replay(&db, &replay).await.unwrap() }
    });
    let started = futures::future::join_all(starting).await;
    assert_eq!(started.iter().filter(|result| **result == Started::Now).count(), 1, "{started:?}");
    assert!(started.iter().all(|result| *result != Started::NotActive));
    subscriptions::delete(&database.db(), new.id, None).await.unwrap();
    assert_eq!(subscriptions::start_replay(&database.db(), &replay).await.unwrap(), Started::NotActive);
}

/// A worker locks the stream first, and then the subscription, which it may disable.
#[tokio::test(flavor = "multi_thread")]
async fn changes_wait_for_a_worker_and_do_not_deadlock_with_it() {
    let moves =
        Changes { destination: Some((Some("https://b.example/".to_owned()), None)), ..Changes::default() };
    for is_deletion in [false, true] {
        let (database, new) = start().await;
        let worker = testing::connect(&database.url()).await;
        worker.batch_execute("begin; select from sms_delivery_streams for update").await.unwrap();
        let (db, moves, id) = (database.db(), moves.clone(), new.id);
        let change = tokio::spawn(async move {
            if is_deletion {
                subscriptions::delete(&db, id, None).await.unwrap()
            } else {
                subscriptions::update(&db, id, None, &moves, clock::now()).await.unwrap().is_some()
            }
        });
        let waits = "select count(*) from pg_stat_activity where datname = current_database() \
            and wait_event_type = 'Lock'";
        eventually("the change waits for the worker", async || {
            (database.scalar(waits).await == "1").then_some(())
        })
        .await;
        // The worker would wait for the change forever if that held the subscription.
        let disabled = worker.batch_execute("update sms_subscriptions set failing_since = now(); commit");
        tokio::time::timeout(Duration::from_secs(20), disabled).await.unwrap().unwrap();
        assert!(change.await.unwrap(), "deletion: {is_deletion}");
    }
}
