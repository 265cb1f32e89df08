//! Benchmarks of the release binaries on this machine: `make bench`.
//!
//! The Runtime API, SQS and Twilio are minimal servers in this process, whose CPU time is not counted. PostgreSQL is a
//! separate server with default settings. CPU times come from the kernel: of the function's process, and of all
//! processes of the PostgreSQL server. All results are medians of several runs.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed measurement must stop the program; results go to stdout"
)]

mod batches;
mod bulk;
mod cluster;
mod cold_start;
mod conversations;
mod events;
mod fan_out;
mod function;
mod http;
mod machine;
mod media;
mod pgbench;
mod processes;
mod secrets;
mod sends;
mod sqs;
mod stack;
mod statistics;
mod traffic;
mod twilio;
mod webhooks;
mod workers;
mod world;
mod years;

use cluster::Cluster;
use lexopt::{Arg, ValueExt};
use local::template::Template;
use pgbench::Pgbench;
use sqs::Sqs;
use std::path::PathBuf;
use twilio::Twilio;
use world::World;

const USAGE: &str = "bench [--binaries target/release] [--quick] [cold-start] [secrets] [webhooks] [workers] \
    [conversations] [sends] [batches] [bulk] [media] [events] | bench [--messages 20000000] years";

/// The messages of two years that `years` loads.
const YEARS_MESSAGES: u64 = 20_000_000;

struct Arguments {
    binaries: PathBuf,
    parts: Vec<String>,
    quick: bool,
    on_one_core: bool,
    messages: u64,
}

impl Arguments {
    fn parse() -> Result<Self, lexopt::Error> {
        let mut arguments = Self {
            binaries: PathBuf::from("target/release"),
            parts: Vec::new(),
            quick: false,
            on_one_core: false,
            messages: YEARS_MESSAGES,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("binaries") => arguments.binaries = parser.value()?.into(),
                Arg::Long("quick") => arguments.quick = true,
                Arg::Long("on-one-core") => arguments.on_one_core = true,
                Arg::Long("messages") => arguments.messages = parser.value()?.parse()?,
                Arg::Value(part) => arguments.parts.push(part.to_string_lossy().into_owned()),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(arguments)
    }

    fn includes(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|included| included == part)
    }
}

fn main() {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\nusage: {USAGE}");
            std::process::exit(2);
        }
    };
    let (starts, rounds) = if arguments.quick { (5, 2) } else { (40, 5) };
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Takes much longer than the other parts, and only on request.
    if arguments.parts == ["years"] {
        machine::print();
        if let Err(error) = years::measure(folder.path(), arguments.messages, rounds) {
            eprintln!("{error}");
            std::process::exit(1);
        }
        return;
    }
    let root = std::env::current_dir().expect("the current folder");
    let template_file = root.join("template.yaml");
    let text = std::fs::read_to_string(&template_file).expect("template.yaml in the current folder");
    let template = Template::parse(&text, "us-east-1").expect("a valid template");
    let world =
        World { binaries: root.join(&arguments.binaries), sqs: Sqs::start(), twilio: Twilio::start() };
    if arguments.on_one_core {
        // Started by `webhooks::measure_on_one_core`.
        webhooks::measure(&world, rounds);
        return;
    }
    machine::print();
    if arguments.includes("webhooks") {
        webhooks::measure(&world, rounds);
        webhooks::measure_on_one_core(&world.binaries, arguments.quick);
    }
    let cluster = Cluster::start(folder.path());
    println!("postgres {}", cluster.version());
    if arguments.includes("cold-start") {
        cold_start::measure(&world, &cluster.database("cold_start"), &template, starts);
    }
    if arguments.includes("secrets") {
        secrets::measure(&world, &cluster.database("secrets"), starts);
    }
    if arguments.includes("workers") {
        let pgbench = Pgbench { folder: folder.path().to_owned() };
        workers::measure(&world, &cluster.database("workers"), &pgbench, rounds);
    }
    if arguments.includes("sends") {
        sends::measure(&world, &cluster, rounds);
    }
    if arguments.includes("batches") {
        batches::measure(&world, &cluster, rounds);
    }
    if arguments.includes("bulk") {
        let messages = if arguments.quick { 1_000 } else { 10_000 };
        bulk::measure(&world.binaries, &template_file, messages);
    }
    if arguments.includes("media") {
        media::measure(&world, &cluster, rounds);
    }
    if arguments.includes("events") {
        events::measure(&world, &cluster, rounds);
        fan_out::measure(&world.binaries, &template_file, arguments.quick);
    }
    if arguments.includes("conversations") {
        conversations::measure(&world, &cluster.database("conversations"), rounds);
    }
}
