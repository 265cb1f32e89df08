//! Latency of events in the whole stack: idle with one subscriber, and with a thousand during a long replay. A hundred
//! of the thousand take ten seconds to answer.

use crate::http::{self, Request, Response};
use crate::stack::{Stack, loop_until, run};
use crate::statistics::percentile;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The number of subscriptions. One in ten hangs.
const SUBSCRIPTIONS: usize = 1_000;
/// The number of workflows. Each subscription and each conversation has one, so a text has 100 subscribers.
const WORKFLOWS: usize = 10;
/// The number of conversations.
const CONVERSATIONS: usize = 60;
/// How long a hanging receiver takes to answer.
const HANGS: Duration = Duration::from_secs(10);
/// The interval between texts on the idle stack.
const IDLE_INTERVAL: Duration = Duration::from_millis(200);
/// The interval between texts to many subscribers.
const TEXT_INTERVAL: Duration = Duration::from_secs(1);
/// The rate of the replay.
const REPLAY_PER_SECOND: &str = "500";

/// Prints all results.
pub fn measure(binaries: &Path, template: &Path, is_quick: bool) {
    if !binaries.join("deliver-event").exists() {
        println!("fan_out deliver-event not built");
        return;
    }
    let (texts, replayed) = if is_quick { (20, 5_000) } else { (300, 100_000) };
    run(async {
        idle(binaries, template, texts).await;
        thousand(binaries, template, replayed).await;
    });
}

/// Sends texts one after the other, with one subscriber.
async fn idle(binaries: &Path, template: &Path, texts: usize) {
    let stack = Stack::start(binaries, template, &[]).await;
    let receivers = Receivers::start();
    let database = stack.database().await;
    add_conversations(&stack, &database).await;
    subscribe(&database, &receivers.url("healthy"), 0).await;
    for _ in 0..texts {
        text(&stack, 0).await;
        tokio::time::sleep(IDLE_INTERVAL).await;
    }
    loop_until("all events are received", async || {
        (receivers.milliseconds("healthy").len() >= texts).then_some(())
    })
    .await;
    receivers.print("idle subscribers=1", "healthy");
}

/// Sends texts to a thousand subscriptions during a replay.
async fn thousand(binaries: &Path, template: &Path, replayed: i64) {
    let stack = Stack::start(binaries, template, &[("EVENTS_REPLAY_PER_SECOND", REPLAY_PER_SECOND)]).await;
    let receivers = Receivers::start();
    let database = stack.database().await;
    add_conversations(&stack, &database).await;
    add_old_events(&database, replayed).await;
    for number in 0..SUBSCRIPTIONS {
        let path = if number / WORKFLOWS % 10 == 9 { "hanging" } else { "healthy" };
        subscribe(&database, &receivers.url(path), number % WORKFLOWS).await;
    }
    subscribe(&database, &receivers.url("replay"), 0).await;
    let replaying = Instant::now();
    start_replay(&database, &receivers.url("replay"), replayed).await;
    let mut texts = 0;
    while count_replays(&database).await > 0 {
        text(&stack, texts).await;
        texts += 1;
        tokio::time::sleep(TEXT_INTERVAL).await;
    }
    println!(
        "replay events={replayed} received={} per_second={:.0} limit_per_second={REPLAY_PER_SECOND}",
        receivers.replayed(),
        replayed as f64 / replaying.elapsed().as_secs_f64()
    );
    let healthy = SUBSCRIPTIONS / WORKFLOWS * 9 / 10 * texts;
    loop_until("all healthy subscribers have received all events", async || {
        (receivers.milliseconds("healthy").len() >= healthy).then_some(())
    })
    .await;
    receivers.print(&format!("fan_out subscriptions={SUBSCRIPTIONS} texts={texts} healthy"), "healthy");
    receivers.print("fan_out hanging, first attempts until now", "hanging");
}

/// Sends a text from a handset to the service.
async fn text(stack: &Stack, number: usize) {
    let handset = handset(number % CONVERSATIONS);
    let url = format!("{}/simulator/handsets/{handset}/messages", stack.info.twilio_api_url);
    let body = serde_json::json!({ "body": "The sink is leaking again" });
    let sent = stack.client.post(url).json(&body).send().await.unwrap();
    assert!(sent.status().is_success(), "{}", sent.status());
}

fn handset(number: usize) -> String {
    format!("+1203555{:04}", 1_000 + number)
}

async fn add_conversations(stack: &Stack, database: &Client) {
    for number in 0..CONVERSATIONS {
        let workflow = format!("w{}", number % WORKFLOWS);
        let insert = "insert into sms_conversations (id, account_sid, phone_number_canonical,
                phone_number_original, workflow_type, last_message_at, created_at)
            values (sms_new_id(), $1, $2, $2, $3, now(), now())";
        database.execute(insert, &[&stack.info.account_sid, &handset(number), &workflow]).await.unwrap();
    }
}

/// Adds events that are older than all subscriptions.
async fn add_old_events(database: &Client, count: i64) {
    let sql = format!(
        "insert into sms_events (id, position, event_type, conversation_id, workflow_type, body, created_at)
         select sms_new_id(), n, 'message.received',
             (select id from sms_conversations order by id offset n % {CONVERSATIONS} limit 1), 'w0',
             '{{\"old\":' || n || ',\"data\":\"' || repeat('x', 280) || '\"}}', now()
         from generate_series(1, {count}) n;
         update sms_event_counter set last_position = {count};
         update sms_match_counter set position = {count};
         vacuum analyze"
    );
    for statement in sql.split(';') {
        database.batch_execute(statement).await.unwrap();
    }
}

async fn subscribe(database: &Client, url: &str, workflow: usize) {
    let insert = "with s as (
            insert into sms_subscriptions (id, url, event_types, workflow_type, include_unknown, content,
                max_in_flight, max_hold_seconds, secret, api_key_id, status, created_at, updated_at)
            values (sms_new_id(), $1, '{message.received}', $2, true, false, 20, 300,
                'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD', sms_new_id(), 'active', now(), now())
            returning id)
        insert into sms_delivery_streams (subscription_id, kind, position, target)
        select s.id, 'live', c.last_position, c.last_position from s, sms_event_counter c";
    database.execute(insert, &[&url, &format!("w{workflow}")]).await.unwrap();
}

async fn start_replay(database: &Client, url: &str, until: i64) {
    let insert = "insert into sms_delivery_streams (subscription_id, kind, position, target)
        select id, 'replay', 0, $2 from sms_subscriptions where url = $1";
    database.execute(insert, &[&url, &until]).await.unwrap();
}

/// Returns the number of replays with undelivered events.
async fn count_replays(database: &Client) -> i64 {
    let count = "select count(*) from sms_delivery_streams s where s.kind = 'replay' and (s.position < s.target
        or exists (select from sms_deliveries d where d.subscription_id = s.subscription_id and d.kind = 'replay'))";
    database.query_one(count, &[]).await.unwrap().get(0)
}

/// Subscribers in this process, by their path.
struct Receivers {
    address: std::net::SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    /// The milliseconds from an event's timestamp, shortly before its commit, to its first receipt, by path.
    milliseconds: HashMap<String, Vec<f64>>,
    /// The number of old events.
    replayed: usize,
}

impl Receivers {
    fn start() -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let records = Arc::clone(&received);
        let address = http::serve(move |request| Some(answer(&records, &request))).expect("a port");
        Self { address, received }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn milliseconds(&self, path: &str) -> Vec<f64> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.milliseconds.get(path).cloned().unwrap_or_default()
    }

    fn replayed(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).replayed
    }

    fn print(&self, name: &str, path: &str) {
        let milliseconds = self.milliseconds(path);
        if milliseconds.is_empty() {
            println!("commit_to_receipt {name} receipts=0");
            return;
        }
        println!(
            "commit_to_receipt {name} receipts={} p50_ms={:.0} p99_ms={:.0} max_ms={:.0}",
            milliseconds.len(),
            percentile(&milliseconds, 50.0),
            percentile(&milliseconds, 99.0),
            percentile(&milliseconds, 100.0)
        );
    }
}

fn answer(records: &Mutex<Received>, request: &Request) -> Response {
    let now = common::clock::now();
    let event: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.line.split([' ', '/']).find(|part| ["healthy", "hanging", "replay"].contains(part));
    let path = path.unwrap_or_default().to_owned();
    let written = event["timestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    {
        let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Some(written) => {
                let took = now.duration_since(written).as_secs_f64() * 1_000.0;
                records.milliseconds.entry(path.clone()).or_default().push(took);
            }
            None => records.replayed += 1,
        }
    }
    if path == "hanging" {
        std::thread::sleep(HANGS);
    }
    Response { status: "200 OK", headers: String::new(), body: Vec::new() }
}
