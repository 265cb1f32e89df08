//! Cold starts: from the start of the process to its first question and its first answer, in a fresh process each
//! time, all functions in turn.

use crate::cluster::Database;
use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::json;
use std::io::Write;

/// What all are compared with.
const HELLO: &str = "hello";

#[derive(Debug, Default)]
struct Measured {
    first_next: Vec<f64>,
    first_answer: Vec<f64>,
    peak_memory: Vec<f64>,
}

/// Prints a line for each function that is built.
pub fn measure(world: &World, database: &Database<'_>, functions: &[(String, String)], rounds: usize) {
    let mut subjects = vec![(String::new(), HELLO.to_owned())];
    for (room, name) in functions {
        if world.binary(name).exists() {
            subjects.push((room.clone(), name.clone()));
        } else {
            println!("cold_start {name} not built");
        }
    }
    let mut measured: Vec<Measured> = subjects.iter().map(|_| Measured::default()).collect();
    // The first round only warms the page cache.
    for round in 0..=rounds {
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            let function = world.start(&subject.1, &database.url, vec![first_event(subject, round as u64)]);
            let first_next = function.first_next();
            let (first_answer, _) = function.first_answer();
            if round > 0 {
                measured.first_next.push(milliseconds(first_next));
                measured.first_answer.push(milliseconds(first_answer));
                measured.peak_memory.push(function.peak_memory_kib() as f64 / 1024.0);
            }
        }
    }
    let hello = median(&measured[0].first_next);
    for ((_, name), measured) in subjects.iter().zip(&measured) {
        let first_next = median(&measured.first_next);
        println!(
            "cold_start {name} first_next_ms={first_next:.2} ratio_to_hello={:.2} first_answer_ms={:.2} \
             peak_memory_mb={:.1} zipped_mb={:.2}",
            first_next / hello,
            median(&measured.first_answer),
            median(&measured.peak_memory),
            zipped(world, name) as f64 / 1_000_000.0,
        );
    }
}

/// Returns the size of a binary in a zip file, whose method is deflate.
fn zipped(world: &World, name: &str) -> usize {
    let binary = std::fs::read(world.binary(name)).expect("a binary");
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&binary).unwrap();
    encoder.finish().unwrap().len()
}

fn first_event((room, name): &(String, String), round: u64) -> Vec<u8> {
    let series = 1;
    match (room.as_str(), name.as_str()) {
        (_, "inbound-sms") => traffic::webhook("/webhook/twilio/sms", "", &traffic::inbound(series, round)),
        (_, "delivery-status") => {
            traffic::webhook("/webhook/twilio/status", "", &traffic::status(series, round, "sent"))
        }
        (_, "record-status") => {
            traffic::batch("status", &[(traffic::status(series, round, "sent"), String::new())])
        }
        // A message for send-outbound can be any: one that it can't read is an answer too.
        ("workers", _) => traffic::batch("inbound", &[(traffic::inbound(series, round), String::new())]),
        (_, "send-sms") => {
            let body = json!({"to": "+12035550123", "body": "hello"});
            traffic::api("POST", "/sms/send", &json!({}), "", Some(&body))
        }
        (_, "get-conversation") => {
            let parameters = json!({"phone_number": "+12035550000"});
            traffic::api("GET", "/conversations/+12035550000", &parameters, "", None)
        }
        (_, "update-conversation") => {
            let parameters = json!({"phone_number": "+12035550000"});
            let body = json!({"workflow_type": "collections"});
            traffic::api("PATCH", "/conversations/+12035550000", &parameters, "", Some(&body))
        }
        (_, "get-message") => {
            let id = common::clock::new_id().to_string();
            traffic::api("GET", &format!("/messages/{id}"), &json!({"id": id}), "", None)
        }
        (_, "cancel-message") => {
            let id = common::clock::new_id().to_string();
            traffic::api("POST", &format!("/messages/{id}/cancel"), &json!({"id": id}), "", None)
        }
        ("api", name) => traffic::api("GET", &format!("/{name}"), &json!({}), "", None),
        (_, "manage-keys") => json!({"action": "list"}).to_string().into_bytes(),
        (_, "manage-sends") => json!({"action": "list", "status": "failed"}).to_string().into_bytes(),
        _ => b"{}".to_vec(),
    }
}
