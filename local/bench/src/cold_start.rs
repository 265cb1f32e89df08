//! Cold starts: the time from the start of a process to its first `next` request and to its first response.
//!
//! Each round starts a new process of each function.

use crate::cluster::Database;
use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use local::template::{FunctionSpec, RouteSpec, Template};
use serde_json::{Map, Value, json};
use std::io::Write;

/// The baseline.
const HELLO: &str = "hello";

#[derive(Debug, Default)]
struct Measured {
    first_next: Vec<f64>,
    first_response: Vec<f64>,
    peak_memory: Vec<f64>,
}

/// Prints a line for each function that is built.
pub fn measure(world: &World, database: &Database<'_>, template: &Template, rounds: usize) {
    let mut subjects = vec![HELLO];
    let mut functions: Vec<&FunctionSpec> = template.functions.iter().collect();
    functions.sort_by(|left, right| left.code_uri.cmp(&right.code_uri));
    for FunctionSpec { name, .. } in functions {
        if world.binary(name).exists() {
            subjects.push(name);
        } else {
            println!("cold_start {name} not built");
        }
    }
    let mut measured: Vec<Measured> = subjects.iter().map(|_| Measured::default()).collect();
    // The first round only fills the page cache.
    for round in 0..=rounds {
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            let function =
                world.start(subject, &database.url, vec![first_event(template, subject, round as u64)]);
            let first_next = function.first_next();
            let (first_response, _) = function.first_response();
            if round > 0 {
                measured.first_next.push(milliseconds(first_next));
                measured.first_response.push(milliseconds(first_response));
                measured.peak_memory.push(function.peak_memory_kib() as f64 / 1024.0);
            }
        }
    }
    let hello = median(&measured[0].first_next);
    for (name, measured) in subjects.iter().zip(&measured) {
        let first_next = median(&measured.first_next);
        println!(
            "cold_start {name} first_next_ms={first_next:.2} ratio_to_hello={:.2} first_answer_ms={:.2} \
             peak_memory_mb={:.1} zipped_mb={:.2}",
            first_next / hello,
            median(&measured.first_response),
            median(&measured.peak_memory),
            zipped(world, name) as f64 / 1_000_000.0,
        );
    }
}

/// Returns the compressed size of a binary in a zip file.
fn zipped(world: &World, name: &str) -> usize {
    let binary = std::fs::read(world.binary(name)).expect("a binary");
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&binary).unwrap();
    encoder.finish().unwrap().len()
}

/// Returns the first event of a function, of the kind that the template declares.
fn first_event(template: &Template, name: &str, round: u64) -> Vec<u8> {
    let series = 1;
    let status = || traffic::status(series, round, "sent");
    let inbound = || traffic::inbound(series, round);
    if template.mappings.iter().any(|mapping| mapping.function == name) {
        // Other workers than record-status get a message that they may reject, which is a response too.
        return match name {
            "record-status" => traffic::batch("status", &[(status(), String::new())]),
            _ => traffic::batch("inbound", &[(inbound(), String::new())]),
        };
    }
    let routes = template.routes.iter().filter(|route| route.function == name);
    if let Some(route) = routes.min_by_key(|route| route.method != "GET") {
        return api_request(route);
    }
    match name {
        "inbound-sms" => traffic::webhook("/webhook/twilio/sms", "", &inbound()),
        "delivery-status" => traffic::webhook("/webhook/twilio/status", "", &status()),
        "authorize" => include_bytes!("../../../functions/api/authorize/events/request.json").to_vec(),
        "manage-archives" | "manage-keys" => json!({"action": "list"}).to_string().into_bytes(),
        "manage-sends" => json!({"action": "list", "status": "failed"}).to_string().into_bytes(),
        _ => b"{}".to_vec(),
    }
}

/// Returns the event of a request to a route, with values for its path parameters and body.
fn api_request(route: &RouteSpec) -> Vec<u8> {
    let id = common::clock::new_id().to_string();
    let values = [("id", id.as_str()), ("phone_number", "+12035550000")];
    let (mut path, mut parameters) = (route.path.clone(), Map::new());
    for (name, value) in values {
        let placeholder = format!("{{{name}}}");
        if path.contains(&placeholder) {
            path = path.replace(&placeholder, value);
            parameters.insert(name.to_owned(), value.into());
        }
    }
    let body = match (route.method.as_str(), route.path.as_str()) {
        ("POST", "/sms/send") => Some(json!({"to": "+12035550123", "body": "hello"})),
        ("PATCH", "/conversations/{phone_number}") => Some(json!({"workflow_type": "collections"})),
        _ => None,
    };
    let method = if route.method == "ANY" { "GET" } else { &route.method };
    traffic::api(method, &path, &Value::Object(parameters), "", body.as_ref())
}
