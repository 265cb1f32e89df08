//! CPU time per webhook. SQS responds immediately and its time is not counted.

use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use std::path::Path;
use std::process::Command;

/// The number of webhooks before the measurement.
const WARM_UP: u64 = 300;
/// The number of webhooks per run.
const EVENTS: u64 = 3_000;

/// Measures again with everything on one core, in another process of this program.
///
/// On Lambda, a function with this much memory gets a part of one core. On two cores, the kernel also charges the
/// function for waking up the other core, where the servers run.
pub fn measure_on_one_core(binaries: &Path, is_quick: bool) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).arg("--on-one-core").arg("--binaries").arg(binaries);
    if is_quick {
        command.arg("--quick");
    }
    match command.status() {
        Ok(status) => assert!(status.success(), "the measurement on one core failed"),
        Err(error) => println!("cannot measure on one core without taskset: {error}"),
    }
}

/// Prints a line for each webhook.
pub fn measure(world: &World, rounds: u64) {
    let inbound = |number| traffic::webhook("/webhook/twilio/sms", "", &traffic::inbound(2, number));
    measure_one(world, "inbound-sms", &inbound, rounds);
    let id = common::clock::new_id();
    let query = format!("message_id={id}");
    let status =
        |number| traffic::webhook("/webhook/twilio/status", &query, &traffic::status(2, number, "delivered"));
    measure_one(world, "delivery-status", &status, rounds);
}

fn measure_one(world: &World, name: &str, event: &dyn Fn(u64) -> Vec<u8>, rounds: u64) {
    // The database is unreachable, so a webhook that needs the spool fails the measurement.
    let function = world.start(name, "postgres://user@127.0.0.1:9/none", Vec::new());
    let before = world.sqs.calls();
    function.run((0..WARM_UP).map(event).collect());
    let (mut cpu, mut took) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let series = function.run((0..EVENTS).map(event).collect());
        for invocation in &series.invocations {
            let body = String::from_utf8_lossy(&invocation.body);
            assert!(body.contains(r#""statusCode":200"#), "{name} returned {body}");
            took.push(milliseconds(invocation.took));
        }
        cpu.push(milliseconds(series.cpu) / EVENTS as f64);
    }
    assert_eq!(
        (world.sqs.calls() - before) as u64,
        WARM_UP + rounds * EVENTS,
        "each webhook must make one call to SQS"
    );
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "cpu {name} cores={cores} function_ms={:.3} wall_ms={:.3} runs={rounds}x{EVENTS}",
        median(&cpu),
        median(&took)
    );
}
