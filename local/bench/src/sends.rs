//! Throughput of sends, from the API request to the message at Twilio, and the effect of a backlog.

use crate::cluster::{Cluster, Database};
use crate::function::{Function, Series};
use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use common::queue::DispatchMessage;
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The number of sends per run.
const SENDS: u64 = 1_000;
/// The number of accepted sends that are passed on together. Both functions run concurrently.
const CHUNK: u64 = 100;
/// The batch size of the queue, and so the number of concurrent calls to Twilio.
const BATCH: usize = 10;
/// The numbers of pending messages while some of them are sent.
const BACKLOGS: [u64; 2] = [1_000, 100_000];
/// The number of messages to send from a backlog.
const OF_BACKLOG: u64 = 100;

/// Prints a line for complete sends, and one for each backlog.
pub fn measure(world: &World, cluster: &Cluster, rounds: u64) {
    for name in ["send-sms", "send-outbound"] {
        if !world.binary(name).exists() {
            println!("sends {name} not built");
            return;
        }
    }
    complete_sends(world, &cluster.database("sends"), rounds);
    let costs = BACKLOGS.map(|waiting| {
        let database = cluster.database(&format!("backlog_{waiting}"));
        dispatch(world, &database, waiting, rounds)
    });
    println!(
        "sends dispatch growth={:.2} from {} to {} waiting",
        costs[1] / costs[0],
        BACKLOGS[0],
        BACKLOGS[1]
    );
}

fn complete_sends(world: &World, database: &Database<'_>, rounds: u64) {
    let accept = world.start("send-sms", &database.url, Vec::new());
    let send = world.start("send-outbound", &database.url, Vec::new());
    let (mut rates, mut own_rates) = (Vec::new(), Vec::new());
    let (mut in_accept, mut in_send, mut in_postgres, mut together) = (vec![], vec![], vec![], vec![]);
    // The first run is the warm-up.
    for round in 0..=rounds {
        database.settle();
        let (before, postgres, begun) = (world.twilio.messages(), database.cluster.cpu(), Instant::now());
        let (accepting, sending) = pipeline(&accept, &send, round);
        let elapsed = begun.elapsed();
        let postgres = milliseconds(database.cluster.cpu() - postgres) / SENDS as f64;
        assert_eq!(world.twilio.messages() - before, SENDS, "each accepted message must reach Twilio once");
        let own_rate = world.twilio.own_rate(SENDS, BATCH as u64);
        if round > 0 {
            let (accepting, sending) =
                (milliseconds(accepting) / SENDS as f64, milliseconds(sending) / SENDS as f64);
            rates.push(SENDS as f64 / elapsed.as_secs_f64());
            own_rates.push(own_rate);
            together.push(accepting + sending + postgres);
            in_accept.push(accepting);
            in_send.push(sending);
            in_postgres.push(postgres);
        }
    }
    println!(
        "sends whole-way per_second={:.0} twilio_alone_per_second={:.0} send_sms_ms={:.3} send_outbound_ms={:.3} \
         postgres_ms={:.3} together_ms={:.3} runs={rounds}x{SENDS}",
        median(&rates),
        median(&own_rates),
        median(&in_accept),
        median(&in_send),
        median(&in_postgres),
        median(&together),
    );
}

/// Accepts messages and sends them one chunk later. Returns the CPU time of both functions.
fn pipeline(accept: &Function, send: &Function, round: u64) -> (Duration, Duration) {
    let (accepted, chunks) = mpsc::channel::<Vec<String>>();
    std::thread::scope(|scope| {
        let accepting = scope.spawn(move || {
            let mut cpu = Duration::ZERO;
            for first in (0..SENDS).step_by(CHUNK as usize) {
                let requests = (first..first + CHUNK).map(|number| request(round * SENDS + number));
                let series = accept.run(requests.collect());
                cpu += series.cpu;
                accepted
                    .send(series.invocations.iter().map(|invocation| id(&invocation.body)).collect())
                    .unwrap();
            }
            cpu
        });
        let sending = chunks.iter().map(|ids| run(send, &ids).cpu).sum();
        (accepting.join().unwrap(), sending)
    })
}

fn request(number: u64) -> Vec<u8> {
    let body = json!({ "to": traffic::handset(number), "body": "Your rent is due on Friday." });
    traffic::api("POST", "/sms/send", &json!({}), "", Some(&body))
}

/// Returns the ID of an accepted message.
fn id(response: &[u8]) -> String {
    let response: Value = serde_json::from_slice(response).unwrap();
    assert_eq!(response["statusCode"], 202, "{response}");
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    body["id"].as_str().unwrap().to_owned()
}

/// Invokes the sender with batches of messages.
fn run(send: &Function, ids: &[String]) -> Series {
    let batches = ids.chunks(BATCH).map(|ids| {
        let bodies = ids.iter().map(|id| DispatchMessage::new(id.parse().unwrap(), None));
        traffic::records("outbound", bodies.map(|body| serde_json::to_string(&body).unwrap()))
    });
    let series = send.run(batches.collect());
    for invocation in &series.invocations {
        let body = String::from_utf8_lossy(&invocation.body);
        assert!(body.contains(r#""batchItemFailures":[]"#), "a batch failed: {body}");
    }
    series
}

/// Sends some messages of a backlog, at least those in the batches. Prints and returns the cost per message.
fn dispatch(world: &World, database: &Database<'_>, waiting: u64, rounds: u64) -> f64 {
    conversations(database);
    let send = world.start("send-outbound", &database.url, Vec::new());
    let (mut in_send, mut in_postgres, mut together, mut rates) = (vec![], vec![], vec![], vec![]);
    // The first run is the warm-up.
    for round in 0..=rounds {
        top_up(database, waiting);
        let ids = database.texts(&format!(
            "select id::text from sms_messages where delivery_status = 'pending' order by next_attempt_at \
                limit {OF_BACKLOG}"
        ));
        let (before, postgres) = (world.twilio.messages(), database.cluster.cpu());
        let series = run(&send, &ids);
        let sent = (world.twilio.messages() - before) as f64;
        assert!(sent > 0.0, "no message was sent");
        let postgres = milliseconds(database.cluster.cpu() - postgres) / sent;
        let function = milliseconds(series.cpu) / sent;
        if round > 0 {
            in_send.push(function);
            in_postgres.push(postgres);
            together.push(function + postgres);
            rates.push(sent / series.elapsed.as_secs_f64());
        }
    }
    println!(
        "sends dispatch waiting={waiting} send_outbound_ms={:.3} postgres_ms={:.3} together_ms={:.3} per_second={:.0} \
         runs={rounds}x{OF_BACKLOG}",
        median(&in_send),
        median(&in_postgres),
        median(&together),
        median(&rates),
    );
    median(&together)
}

/// Creates a thousand conversations.
fn conversations(database: &Database<'_>) {
    database.execute(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original,
             created_at)
         select sms_new_id(), 'AC277f7ecc24aaab2316acb9fd8f634625', '+1203' || (5000000 + n),
             '+1203' || (5000000 + n), now() - interval '1 day'
         from generate_series(0, 999) n",
    );
}

/// Fills the backlog with due messages. A sender claims more messages than its batch names.
fn top_up(database: &Database<'_>, waiting: u64) {
    database.execute(&format!(
        "insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
             delivery_status, encoding, segments, next_attempt_at, created_at)
         select sms_new_id(), c.id, 'outbound', '+18605550100', c.phone_number_canonical,
             'Your rent is due on Friday.', 'pending', 'GSM-7', 1, now(), now()
         from (select id, phone_number_canonical, row_number() over () as place from sms_conversations) c
         join generate_series(
             1, {waiting} - (select count(*) from sms_messages where delivery_status = 'pending')) m
             on c.place = 1 + m % 1000"
    ));
    database.settle();
}
