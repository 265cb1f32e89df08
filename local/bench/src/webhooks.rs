//! CPU time of a webhook in its function; SQS answers at once, and its time isn't counted.

use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use std::path::Path;
use std::process::Command;

/// Webhooks before the first that count.
const WARM_UP: u64 = 300;
/// Webhooks in a run.
const EVENTS: u64 = 3_000;

/// Measures again with everything on one core, by this program started anew. A function of the memory that ours have gets a
/// part of one core; on two, the kernel bills it for waking up the other one, where its peers here are.
pub fn measure_on_one_core(binaries: &Path, is_quick: bool) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).arg("--on-one-core").arg("--binaries").arg(binaries);
    if is_quick {
        command.arg("--quick");
    }
    match command.status() {
        Ok(status) => assert!(status.success(), "the measurement on one core failed"),
        Err(error) => println!("on one core nothing is measured without taskset: {error}"),
    }
}

/// Prints a line for each webhook.
pub fn measure(world: &World, rounds: u64) {
    let inbound = |number| traffic::webhook("/webhook/twilio/sms", "", &traffic::inbound(2, number));
    one(world, "inbound-sms", &inbound, rounds);
    let id = common::clock::new_id();
    let query = format!("message_id={id}");
    let status =
        |number| traffic::webhook("/webhook/twilio/status", &query, &traffic::status(2, number, "delivered"));
    one(world, "delivery-status", &status, rounds);
}

fn one(world: &World, name: &str, event: &dyn Fn(u64) -> Vec<u8>, rounds: u64) {
    // Nobody listens there: a webhook that goes to the spool fails the measurement.
    let function = world.start(name, "postgres://nobody@127.0.0.1:9/none", Vec::new());
    let before = world.sqs.taken();
    function.run((0..WARM_UP).map(event).collect());
    let (mut cpu, mut took) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let series = function.run((0..EVENTS).map(event).collect());
        for handled in &series.answers {
            let body = String::from_utf8_lossy(&handled.body);
            assert!(body.contains(r#""statusCode":200"#), "{name} answered {body}");
            took.push(milliseconds(handled.took));
        }
        cpu.push(milliseconds(series.cpu) / EVENTS as f64);
    }
    assert_eq!((world.sqs.taken() - before) as u64, WARM_UP + rounds * EVENTS, "one call to SQS each");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "cpu {name} cores={cores} function_ms={:.3} wall_ms={:.3} runs={rounds}x{EVENTS}",
        median(&cpu),
        median(&took)
    );
}
