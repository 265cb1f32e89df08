//! Deliveries: matching, claiming, recording, holding, pausing, replaying and disabling, whatever workers do.

mod failures;
mod growth;
mod hints;
mod order;
mod races;
mod replays;

use crate::now;
use common::db::Db;
use common::db::deliveries::{
    self, Claim, DeliveryEnd, DeliveryResult, Demand, DueStream, Limits, Matches, Step,
};
use common::domain::delivery::{Stream, StreamKind};
use common::domain::ids::SubscriptionId;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use testing::Database;

/// How long a stream is not hinted again.
const HINT_EVERY: Duration = Duration::from_secs(60);
/// The lease of a claim.
const LEASE: i64 = 30;

fn limits() -> Limits {
    Limits {
        lease_seconds: LEASE as f64,
        max_rows: 1_000,
        max_range: 20_000,
        pause_seconds: 5.0,
        max_pause_seconds: 300.0,
        slow_seconds: 600.0,
        slow_ms: 1_000,
        replay_per_second: 100.0,
        stay_seconds: 1.0,
        wake_seconds: 900.0,
    }
}

/// Seconds after the start of a test.
fn at(seconds: f64) -> Timestamp {
    now() + SignedDuration::from_millis((seconds * 1_000.0).round() as i64)
}

/// A database with conversations of tenants and the subscriptions of a test.
struct World {
    database: Database,
    db: Db,
    limits: Limits,
}

impl World {
    async fn start() -> Self {
        let database = Database::create().await;
        let db = database.db();
        Self { database, db, limits: limits() }
    }

    async fn run(&self, sql: &str) {
        self.database.client.batch_execute(sql).await.unwrap();
    }

    async fn scalar(&self, sql: &str) -> String {
        self.database.scalar(sql).await
    }

    /// Creates a subscription to everything with this change, and its live stream at the end of the log.
    async fn subscribe(&self, change: &str) -> Stream {
        let id = self.database.subscribe("https://example.com/", change).await;
        Stream { subscription_id: id.parse().unwrap(), kind: StreamKind::Live }
    }

    async fn conversations(&self, number: usize) -> Vec<String> {
        self.database.conversations(number).await
    }

    /// Writes events without numbering them.
    async fn write(&self, conversations: &[&String]) {
        self.database.write_events(conversations).await;
    }

    /// Numbers and compares all events.
    async fn compare(&self, now: Timestamp) -> Vec<DueStream> {
        self.database.number_events().await;
        let Matches { due, has_more } = deliveries::match_events(&self.db, HINT_EVERY, now).await.unwrap();
        assert!(!has_more);
        due
    }

    /// Writes, numbers and compares events, one after the other.
    async fn emit(&self, conversations: &[&String]) {
        for conversation in conversations {
            self.write(&[conversation]).await;
        }
        self.compare(now()).await;
    }

    async fn exchange(
        &self,
        stream: Stream,
        results: &[DeliveryResult],
        demand: Demand,
        now: Timestamp,
    ) -> Option<Step> {
        deliveries::exchange(&self.db, stream, results, demand, &self.limits, now).await.unwrap()
    }

    /// Claims up to a hundred events for a worker without attempts in flight.
    async fn claim(&self, stream: Stream, now: Timestamp) -> Vec<Claim> {
        self.step(stream, &[], now).await.claims
    }

    async fn step(&self, stream: Stream, results: &[DeliveryResult], now: Timestamp) -> Step {
        self.exchange(stream, results, WANTS, now).await.unwrap()
    }

    /// Records results without claiming.
    async fn record(&self, stream: Stream, results: &[DeliveryResult], now: Timestamp) -> Step {
        self.exchange(stream, results, Demand { wanted: 0, ..WANTS }, now).await.unwrap()
    }

    /// The undelivered events of all streams: position, attempts and whether they are in flight.
    async fn rows(&self) -> String {
        self.scalar(
            "select coalesce(string_agg(
                 position || ':' || attempts || case when leased_until is null then '' else '*' end, ' '
                 order by position), '') from sms_deliveries",
        )
        .await
    }

    /// Columns of a stream.
    async fn stream(&self, stream: Stream, columns: &str) -> String {
        self.scalar(&format!(
            "select concat_ws(' ', {columns}) from sms_delivery_streams
             where subscription_id = '{}' and kind = '{}'",
            stream.subscription_id, stream.kind
        ))
        .await
    }

    /// Columns of a subscription.
    async fn subscription(&self, id: SubscriptionId, columns: &str) -> String {
        self.scalar(&format!("select concat_ws(' ', {columns}) from sms_subscriptions where id = '{id}'"))
            .await
    }

    /// The bodies of a type, in the order of the log.
    async fn bodies_of(&self, of: &str) -> Vec<String> {
        self.database.number_events().await;
        let rows = "select body from sms_events where event_type = $1 order by position";
        let rows = self.database.client.query(rows, &[&of]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// A worker of `[events]` without attempts in flight.
const WANTS: Demand = Demand { wanted: 100, in_flight: 0, is_slow: false };

fn positions(claims: &[Claim]) -> Vec<i64> {
    claims.iter().map(|claim| claim.position).collect()
}

fn result(claim: &Claim, end: DeliveryEnd) -> DeliveryResult {
    DeliveryResult {
        position: claim.position,
        leased_until: claim.leased_until,
        end,
        attempted_at: claim.leased_until - SignedDuration::from_secs(LEASE),
        duration_ms: 7,
        status_code: None,
        error: None,
        response_body: None,
    }
}

fn delivered(claims: &[Claim]) -> Vec<DeliveryResult> {
    claims.iter().map(|claim| result(claim, DeliveryEnd::Delivered)).collect()
}

/// The receiver answered 500. The next attempt is at this time.
fn rejected(claim: &Claim, next_attempt_at: Option<Timestamp>) -> DeliveryResult {
    DeliveryResult {
        status_code: Some(500),
        error: Some("status 500".to_owned()),
        response_body: Some("no".to_owned()),
        ..result(claim, DeliveryEnd::Failed { next_attempt_at })
    }
}

/// The receiver answered 503.
fn unavailable(claim: &Claim, next_attempt_at: Timestamp, retry_after_seconds: f64) -> DeliveryResult {
    let end = DeliveryEnd::Unavailable { next_attempt_at: Some(next_attempt_at), retry_after_seconds };
    DeliveryResult { status_code: Some(503), ..result(claim, end) }
}

#[tokio::test]
async fn only_streams_that_match_are_touched_and_an_idle_one_begins_before_its_first_match() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    world.emit(&[&ids[0]; 3]).await;
    let matching = world.subscribe("event_types = '{message.status,message.failed}'").await;
    let other = world.subscribe("event_types = '{message.received}'").await;
    let disabled = world.subscribe("status = 'disabled'").await;
    let versions =
        "select string_agg(xmin || ' ' || ctid, ',' order by subscription_id) from sms_delivery_streams
        where subscription_id = any($1)";
    let others = [*other.subscription_id.uuid(), *disabled.subscription_id.uuid()];
    let version = async || {
        let row = world.database.client.query_one(versions, &[&others.as_slice()]).await.unwrap();
        row.get::<_, String>(0)
    };
    let before = version().await;
    // No claim reads positions 4 and 5.
    world.run("update sms_subscriptions set workflow_type = 'x'").await;
    world.emit(&[&ids[0]; 2]).await;
    world.run("update sms_subscriptions set workflow_type = null").await;
    world.write(&[&ids[0]; 2]).await;
    let due = world.compare(now()).await;
    let expected =
        DueStream { subscription_id: matching.subscription_id, kind: StreamKind::Live, is_slow: false };
    assert_eq!(due, [expected]);
    assert_eq!(world.stream(matching, "position, target").await, "5 7");
    assert_eq!(version().await, before, "idle streams");
    assert_eq!(world.compare(now()).await, [], "nothing is compared twice");
    assert_eq!(positions(&world.claim(matching, now()).await), [6], "one of a conversation at a time");
}

#[tokio::test]
async fn each_filter_decides_alone() {
    let world = World::start().await;
    let ids = world.conversations(2).await;
    world
        .run(&format!(
            "update sms_conversations set workflow_type = 'leasing' where id = '{}';
             update sms_conversations set tenant_id = null where id = '{}'",
            ids[0], ids[1]
        ))
        .await;
    let filters = [
        ("", "1"),
        ("include_unknown = true", "1 2 3"),
        ("event_types = '{message.status}'", "1"),
        ("event_types = '{message.failed}', include_unknown = true", "3"),
        ("workflow_type = 'leasing'", "1"),
        ("workflow_type = 'collections', include_unknown = true", ""),
        ("tenant_id = 'T-1'", "1"),
        ("tenant_id = 'T-2', include_unknown = true", ""),
    ];
    let mut streams = Vec::new();
    for (filter, expected) in filters {
        streams.push((world.subscribe(filter).await, filter, expected));
    }
    world.emit(&[&ids[0], &ids[1]]).await;
    world
        .run(&format!(
            "select sms_emit_events('{{message.failed}}', '{{{}}}', array[null::uuid], array['{{}}'], '{}')",
            ids[1],
            now()
        ))
        .await;
    world.compare(now()).await;
    for (stream, filter, expected) in streams {
        let mut found = Vec::new();
        loop {
            let claims = world.claim(stream, now()).await;
            if claims.is_empty() {
                break;
            }
            found.extend(positions(&claims).iter().map(i64::to_string));
            world.record(stream, &delivered(&claims), now()).await;
        }
        assert_eq!(found.join(" "), expected, "{filter}");
    }
}

#[tokio::test]
async fn an_event_about_a_subscription_goes_to_the_others() {
    let world = World::start().await;
    let (about, other) = (world.subscribe("").await, world.subscribe("").await);
    world
        .run(&format!(
            "select sms_disable_subscription('{}', 'gone', 'subscription.disabled', '{}')",
            about.subscription_id,
            now()
        ))
        .await;
    world.run("update sms_subscriptions set status = 'active'").await;
    let due: Vec<_> = world.compare(now()).await.iter().map(DueStream::stream).collect();
    assert_eq!(due, [other]);
    let claims = world.claim(other, now()).await;
    assert_eq!((positions(&claims), claims[0].conversation_id), (vec![1], None));
    assert_eq!(claims[0].body.as_deref(), Some(world.bodies_of("subscription.disabled").await[0].as_str()));
}

#[tokio::test]
async fn contents_are_returned_with_message_events_for_subscriptions_that_want_them() {
    let world = World::start().await;
    let ids = world.conversations(1).await;
    let (with, without) = (world.subscribe("content = true").await, world.subscribe("").await);
    world
        .run(&format!(
            "with message as (
                 insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
                     delivery_status, twilio_sid, created_at)
                 values (sms_new_id(), '{0}', 'outbound', '+15550100', '+12025550123', 'the text', 'sent', 'SM1', now())
                 returning id)
             select sms_emit_events('{{message.status,contact.opted_out}}', '{{{0},{0}}}', array[id, id],
                 '{{{{}},{{}}}}', now()) from message",
            ids[0]
        ).replace("'{{},{}}'", "array['{}', '{}']"))
        .await;
    world.compare(now()).await;
    let content = async |stream| {
        let mut found = Vec::new();
        for _ in 0..2 {
            let claims = world.claim(stream, now()).await;
            found.push((claims[0].has_content, claims[0].message_content.clone()));
            world.record(stream, &delivered(&claims), now()).await;
        }
        found
    };
    assert_eq!(content(with).await, [(true, Some("the text".to_owned())), (false, None)]);
    assert_eq!(content(without).await, [(false, None), (false, None)]);
}
