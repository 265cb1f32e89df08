//! Bulk requests of 1,000 messages, and the progress of a small and a large batch.

use crate::cluster::{Cluster, Database};
use crate::statistics::{median, milliseconds, percentile};
use crate::traffic;
use crate::world::World;
use serde_json::{Value, json};

/// The number of messages per request.
const MESSAGES: u64 = 1_000;
/// The number of requests per run.
const REQUESTS: u64 = 10;
/// The number of reads of a batch's progress per run.
const READS: u64 = 2_000;
/// The sizes of the batches whose progress is read.
const SIZES: [u64; 2] = [10, 100_000];

/// Prints a line for bulk requests to new and to known recipients, and one for the progress of batches.
pub fn measure(world: &World, cluster: &Cluster, rounds: u64) {
    for name in ["send-bulk", "get-batch"] {
        if !world.binary(name).exists() {
            println!("batches {name} not built");
            return;
        }
    }
    accept(world, &cluster.database("batches"), rounds);
    progress(world, &cluster.database("progress"), rounds);
}

fn accept(world: &World, database: &Database<'_>, rounds: u64) {
    let function = world.start("send-bulk", &database.url, Vec::new());
    // The recipients of the first request of a run are new in round 0 only.
    for known in [false, true] {
        let (mut rates, mut took, mut in_function, mut in_postgres) = (vec![], vec![], vec![], vec![]);
        for round in 0..=rounds {
            database.settle();
            let first = |number: u64| if known { 0 } else { (round * REQUESTS + number) * MESSAGES };
            let requests = (0..REQUESTS).map(|number| request(first(number), round * REQUESTS + number));
            let before = database.cluster.cpu();
            let series = function.run(requests.collect());
            let postgres = milliseconds(database.cluster.cpu() - before);
            let messages = (REQUESTS * MESSAGES) as f64;
            for invocation in &series.invocations {
                let response: Value = serde_json::from_slice(&invocation.body).unwrap();
                assert_eq!(response["statusCode"], 202, "{response}");
                assert!(response["body"].as_str().unwrap().contains(r#""accepted":1000"#), "{response}");
            }
            if round > 0 {
                let times: Vec<f64> =
                    series.invocations.iter().map(|invocation| milliseconds(invocation.took)).collect();
                rates.push(messages / times.iter().sum::<f64>() * 1_000.0);
                took.extend(times);
                in_function.push(milliseconds(series.cpu) / messages);
                in_postgres.push(postgres / messages);
            }
        }
        println!(
            "batches accept recipients={} per_second={:.0} function_ms={:.4} postgres_ms={:.4} p50_ms={:.0} \
             max_ms={:.0} runs={rounds}x{REQUESTS}x{MESSAGES}",
            if known { "known" } else { "new" },
            median(&rates),
            median(&in_function),
            median(&in_postgres),
            percentile(&took, 50.0),
            percentile(&took, 100.0),
        );
    }
}

/// Returns a request for messages to consecutive handsets, the first time with new numbers.
fn request(first: u64, number: u64) -> Vec<u8> {
    let messages: Vec<Value> = (first..first + MESSAGES)
        .map(|handset| {
            let to = format!("+1203{:07}", 5_000_000 + handset);
            json!({ "to": to, "body": format!("Notice {number}: the water is off.") })
        })
        .collect();
    traffic::api("POST", "/sms/bulk", &json!({}), "", Some(&json!({ "messages": messages })))
}

/// Prints the cost of reading the progress of a small and a large batch, measured in turns.
fn progress(world: &World, database: &Database<'_>, rounds: u64) {
    for size in SIZES {
        store(database, size);
    }
    // What autovacuum would do in the middle of a run.
    database.settle();
    let function = world.start("get-batch", &database.url, Vec::new());
    let (mut in_function, mut in_postgres) = ([vec![], vec![]], [vec![], vec![]]);
    // The first round is the warm-up.
    for round in 0..=rounds {
        for (place, size) in SIZES.into_iter().enumerate() {
            let parameters = json!({ "batch_id": batch(size) });
            let request = traffic::api("GET", "/sms/bulk/x", &parameters, "", None);
            let requests = (0..READS).map(|_| request.clone()).collect();
            let before = database.cluster.cpu();
            let series = function.run(requests);
            let postgres = milliseconds(database.cluster.cpu() - before) / READS as f64;
            for invocation in &series.invocations {
                let body = String::from_utf8_lossy(&invocation.body);
                assert!(body.contains(r#""statusCode":200"#), "get-batch returned {body}");
            }
            if round > 0 {
                in_function[place].push(milliseconds(series.cpu) / READS as f64);
                in_postgres[place].push(postgres);
            }
        }
    }
    let costs = [0, 1].map(|place| (median(&in_function[place]), median(&in_postgres[place])));
    for (size, (function, postgres)) in SIZES.into_iter().zip(costs) {
        println!(
            "batches progress messages={size} function_ms={function:.3} postgres_ms={postgres:.3} \
             runs={rounds}x{READS}"
        );
    }
    let [small, large] = costs.map(|(function, postgres)| function + postgres);
    println!("batches progress growth={:.2} from {} to {} messages", large / small, SIZES[0], SIZES[1]);
}

/// Returns the id of the batch of a size.
fn batch(size: u64) -> String {
    format!("01900000-0000-7000-8000-{size:012}")
}

/// Stores a batch of delivered messages.
fn store(database: &Database<'_>, size: u64) {
    let batch = batch(size);
    database.execute(&format!(
        "begin;
         set local session_replication_role = replica;
         insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
         values (sms_new_id(), 'AC1', '+1203{size:07}', '+1203{size:07}', now());
         insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
             delivery_status, priority, created_at, batch_id)
         select sms_new_id(), c.id, 'outbound', '+18605550100', c.phone_number_canonical, 'x', 'delivered', 'bulk',
             now(), '{batch}'
         from sms_conversations c, generate_series(1, {size}) where c.phone_number_canonical = '+1203{size:07}';
         insert into sms_batches (id, total, segments, created_at, changed_at)
         values ('{batch}', {size}, {size}, now(), now());
         insert into sms_batch_counts (batch_id, status, messages) values ('{batch}', 'delivered', {size});
         commit"
    ));
}
