//! Events: what they cost their writers, the numberer, and deliveries to one and to many subscribers.

use crate::cluster::{Cluster, Database};
use crate::function::Function;
use crate::http::{self, Response};
use crate::statistics::{median, milliseconds, percentile};
use crate::traffic;
use crate::world::World;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of deliveries per run.
const DELIVERIES: u64 = 5_000;
/// The number of conversations. Events of one conversation are delivered one after the other.
const CONVERSATIONS: u64 = 1_000;
/// The number of inbound messages per run.
const MESSAGES: u64 = 3_000;
/// The number of old events that the last comparison adds.
const OLD_EVENTS: u64 = 10_000_000;

/// Prints all results.
pub fn measure(world: &World, cluster: &Cluster, rounds: u64) {
    let receiver = Receiver::start();
    emission(world, &cluster.database("events_emission"), rounds);
    numbering(&cluster.database("events_numbering"), rounds);
    let own = receiver.own_rate();
    for subscribers in [1, 100] {
        let database = cluster.database(&format!("events_to_{subscribers}"));
        fill(&database);
        (0..subscribers).for_each(|_| subscribe(&database, &receiver.url, "message.status"));
        let costs = Costs::of(world, &database, &receiver, DELIVERIES / subscribers, rounds);
        costs.print(&format!("deliver-event subscribers={subscribers}"));
        println!(
            "events_per_second subscribers={subscribers} function={:.0} null_receiver={own:.0} ratio={:.2}",
            median(&costs.per_second),
            median(&costs.per_second) / own
        );
    }
    growth(world, cluster, &receiver, rounds);
}

/// Compares batches of inbound messages with and without their events.
fn emission(world: &World, database: &Database<'_>, rounds: u64) {
    let function = world.start("record-inbound", &database.url, Vec::new());
    let mut series = 900;
    let mut batches = || {
        series += 1;
        let batch = |first: u64| {
            let webhooks: Vec<_> =
                (first..first + 10).map(|number| (traffic::inbound(series, number), String::new())).collect();
            traffic::batch("inbound", &webhooks)
        };
        (0..MESSAGES).step_by(10).map(batch).collect::<Vec<_>>()
    };
    function.run(batches());
    let body = database.texts(
        "select pg_get_functiondef(oid) from pg_proc where proname = 'sms_emit_events' and pronargs = 5",
    );
    let without = "create or replace function sms_emit_events(
            types text[], conversation_ids uuid[], message_ids uuid[], data text[], at timestamptz)
        returns bigint language sql as $$ select 0::bigint $$";
    let (mut with_events, mut without_events, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        database.execute(&body[0]);
        database.settle();
        let with = MESSAGES as f64 / function.run(batches()).elapsed.as_secs_f64();
        database.execute(without);
        database.settle();
        let less = MESSAGES as f64 / function.run(batches()).elapsed.as_secs_f64();
        with_events.push(with);
        without_events.push(less);
        ratios.push(with / less);
    }
    println!(
        "emission record-inbound batch=10 with_events_per_second={:.0} without={:.0} ratio={:.2} \
         runs={rounds}x{MESSAGES}",
        median(&with_events),
        median(&without_events),
        median(&ratios)
    );
}

/// Measures the numberer.
fn numbering(database: &Database<'_>, rounds: u64) {
    fill(database);
    let mut took = Vec::new();
    for _ in 0..rounds * 5 {
        emit(database, 1_000);
        let begun = Instant::now();
        assert_eq!(database.number("select numbered from sms_number_events(max_number => 1000)"), 1_000);
        took.push(milliseconds(begun.elapsed()));
    }
    let begun = Instant::now();
    for _ in 0..1_000 {
        database.number("select numbered from sms_number_events(max_number => 1000)");
    }
    let idle = milliseconds(begun.elapsed()) / 1_000.0;
    println!(
        "numberer events=1000 p50_ms={:.2} p99_ms={:.2} without_events_ms={idle:.3} runs={}",
        median(&took),
        percentile(&took, 99.0),
        took.len()
    );
}

/// Compares deliveries to one subscriber with those next to 1,000 idle subscriptions and to those after old events.
fn growth(world: &World, cluster: &Cluster, receiver: &Receiver, rounds: u64) {
    let mut databases = Vec::new();
    for (name, idle, old) in [("alone", 0, 0), ("idle_1000", 999, 0), ("old_events", 0, OLD_EVENTS)] {
        let database = cluster.database(&format!("events_{name}"));
        fill(&database);
        (0..idle).for_each(|_| subscribe(&database, &receiver.url, "contact.opted_out"));
        if old > 0 {
            add_old_events(&database, old);
        }
        subscribe(&database, &receiver.url, "message.status");
        database.settle();
        databases.push((name, database, Costs::default()));
    }
    for _ in 0..rounds {
        for (_, database, costs) in &mut databases {
            costs.merge(Costs::of(world, database, receiver, DELIVERIES, 1));
        }
    }
    let alone = databases[0].2.together();
    for (name, _, costs) in &databases {
        costs.print(&format!("deliver-event database={name}"));
        println!("growth database={name} ratio={:.2}", costs.together() / alone);
    }
}

/// Creates the conversations.
fn fill(database: &Database<'_>) {
    database.execute(&format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original,
             language_detected, language_confidence, last_message_at, created_at)
         select sms_new_id(), 'AC277f7ecc24aaab2316acb9fd8f634625', '+1203' || (5000000 + n),
             '+1203' || (5000000 + n), 'en', 0.9, now(), now()
         from generate_series(1, {CONVERSATIONS}) n"
    ));
    database.settle();
}

/// Writes events, at most one per conversation and statement, as a batch of callbacks does.
fn emit(database: &Database<'_>, events: u64) {
    for first in (0..events).step_by(CONVERSATIONS as usize) {
        let count = CONVERSATIONS.min(events - first);
        database.number(&format!(
            r#"select sms_emit_events(array_agg('message.status'::text), array_agg(id), array_agg(null::uuid),
                 array_agg('{{"status":"delivered","previous_status":"sent","error_code":null,"parked":false}}'::text),
                 now())
             from (select id from sms_conversations limit {count}) c"#
        ));
    }
}

fn add_old_events(database: &Database<'_>, count: u64) {
    database.execute(&format!(
        "insert into sms_events (id, position, event_type, conversation_id, body, created_at)
         select sms_new_id(), n, 'message.status', (select id from sms_conversations limit 1),
             repeat('x', 300), now() from generate_series(1, {count}) n;
         update sms_event_counter set last_position = {count};
         update sms_match_counter set position = {count}"
    ));
}

fn subscribe(database: &Database<'_>, url: &str, event_type: &str) {
    database.execute(&format!(
        "with s as (
             insert into sms_subscriptions (id, url, event_types, include_unknown, content, max_in_flight,
                 max_hold_seconds, secret, api_key_id, status, created_at, updated_at)
             values (sms_new_id(), '{url}', '{{{event_type}}}', true, false, 20, 300,
                 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD', sms_new_id(), 'active', now(), now())
             returning id)
         insert into sms_delivery_streams (subscription_id, kind, position, target)
         select s.id, 'live', c.last_position, c.last_position from s, sms_event_counter c"
    ));
}

/// The costs of runs.
#[derive(Debug, Default)]
struct Costs {
    function: Vec<f64>,
    postgres: Vec<f64>,
    per_second: Vec<f64>,
    deliveries: u64,
}

impl Costs {
    /// Measures runs with as many events for each subscriber.
    fn of(world: &World, database: &Database<'_>, receiver: &Receiver, events: u64, rounds: u64) -> Self {
        let function = world.start("deliver-event", &database.url, Vec::new());
        let mut costs = Self::default();
        emit(database, CONVERSATIONS.min(events));
        deliver_all(&function, database);
        for _ in 0..rounds {
            emit(database, events);
            let (before, received) = (database.cluster.cpu(), receiver.count());
            let (elapsed, in_function) = deliver_all(&function, database);
            let deliveries = receiver.count() - received;
            assert!(deliveries >= events, "{deliveries} of {events} events were delivered");
            costs.deliveries = deliveries;
            costs.function.push(milliseconds(in_function) / deliveries as f64);
            costs.postgres.push(milliseconds(database.cluster.cpu() - before) / deliveries as f64);
            costs.per_second.push(deliveries as f64 / elapsed.as_secs_f64());
        }
        costs
    }

    fn merge(&mut self, other: Self) {
        self.function.extend(other.function);
        self.postgres.extend(other.postgres);
        self.per_second.extend(other.per_second);
        self.deliveries = other.deliveries;
    }

    fn together(&self) -> f64 {
        median(&self.function) + median(&self.postgres)
    }

    fn print(&self, name: &str) {
        println!(
            "cpu {name} function_ms={:.3} postgres_ms={:.3} together_ms={:.3} per_second={:.0} runs={}x{}",
            median(&self.function),
            median(&self.postgres),
            self.together(),
            median(&self.per_second),
            self.function.len(),
            self.deliveries
        );
    }
}

/// Compares the new events with the subscriptions, and runs the worker until all are delivered. Returns the time and
/// the function's CPU time.
fn deliver_all(function: &Function, database: &Database<'_>) -> (Duration, Duration) {
    let (mut elapsed, mut cpu) = (Duration::ZERO, Duration::ZERO);
    let mut run = |bodies: Vec<String>| {
        let events = bodies.chunks(10).map(hints).collect();
        let series = function.run(events);
        elapsed += series.elapsed;
        cpu += series.cpu;
    };
    run(vec![json!({ "version": "1" }).to_string()]);
    loop {
        let ids = database.texts(
            "select subscription_id::text from sms_delivery_streams s where position < target or exists (
                 select from sms_deliveries d where d.subscription_id = s.subscription_id)",
        );
        if ids.is_empty() {
            return (elapsed, cpu);
        }
        let hint = |id: &String| {
            json!({ "version": "2", "subscription_id": id, "kind": "live", "slow": false }).to_string()
        };
        run(ids.iter().map(hint).collect());
    }
}

fn hints(bodies: &[String]) -> Vec<u8> {
    let record = |(number, body): (usize, &String)| {
        json!({
            "messageId": format!("{number}"), "receiptHandle": "r", "body": body, "attributes": {},
            "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:events", "awsRegion": "us-east-1",
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() }).to_string().into_bytes()
}

/// A subscriber that only counts.
struct Receiver {
    url: String,
    count: Arc<AtomicU64>,
}

impl Receiver {
    fn start() -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let address = http::serve(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Some(Response { status: "200 OK", headers: String::new(), body: Vec::new() })
        });
        Self { url: format!("http://{}/events", address.expect("a port")), count }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns its own throughput with a client that only posts.
    fn own_rate(&self) -> f64 {
        const CLIENTS: u64 = 20;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let begun = Instant::now();
        runtime.block_on(futures::future::join_all((0..CLIENTS).map(|_| async {
            for _ in 0..DELIVERIES / CLIENTS {
                client.post(&self.url).body("x".repeat(300)).send().await.unwrap();
            }
        })));
        DELIVERIES as f64 / begun.elapsed().as_secs_f64()
    }
}
