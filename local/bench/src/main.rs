//! What the service costs, measured on this machine through its release binaries: `make bench`.
//!
//! Peers are local: a Runtime API and an SQS in this process, whose time isn't counted, and a PostgreSQL server of the
//! measurement's own with its default settings. CPU times are the kernel's, of the function's process and of all of
//! the server's processes. Everything is the median of several runs.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that can't be made should say so and stop; its results go to stdout"
)]

mod bulk;
mod cluster;
mod cold_start;
mod conversations;
mod function;
mod http;
mod machine;
mod pgbench;
mod processes;
mod sends;
mod sqs;
mod statistics;
mod traffic;
mod twilio;
mod webhooks;
mod workers;
mod world;

use cluster::Cluster;
use lexopt::Arg;
use pgbench::Pgbench;
use sqs::Sqs;
use std::path::PathBuf;
use twilio::Twilio;
use world::World;

const USAGE: &str = "bench [--binaries target/release] [--quick] [cold-start] [webhooks] [workers] [conversations] [sends] [bulk]";

struct Arguments {
    binaries: PathBuf,
    parts: Vec<String>,
    quick: bool,
    on_one_core: bool,
}

impl Arguments {
    fn parse() -> Result<Self, lexopt::Error> {
        let mut arguments = Self {
            binaries: PathBuf::from("target/release"),
            parts: Vec::new(),
            quick: false,
            on_one_core: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("binaries") => arguments.binaries = parser.value()?.into(),
                Arg::Long("quick") => arguments.quick = true,
                Arg::Long("on-one-core") => arguments.on_one_core = true,
                Arg::Value(part) => arguments.parts.push(part.to_string_lossy().into_owned()),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(arguments)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
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
    let root = std::env::current_dir().expect("a folder");
    let world =
        World { binaries: root.join(&arguments.binaries), sqs: Sqs::start(), twilio: Twilio::start() };
    if arguments.on_one_core {
        // What `webhooks` starts for itself.
        webhooks::measure(&world, rounds);
        return;
    }
    machine::print();
    if arguments.wants("webhooks") {
        webhooks::measure(&world, rounds);
        webhooks::measure_on_one_core(&world.binaries, arguments.quick);
    }
    let cluster = Cluster::start(folder.path());
    println!("postgres {}", cluster.version());
    if arguments.wants("cold-start") {
        cold_start::measure(&world, &cluster.database("cold_start"), &world::functions(&root), starts);
    }
    if arguments.wants("workers") {
        let pgbench = Pgbench { folder: folder.path().to_owned() };
        workers::measure(&world, &cluster.database("workers"), &pgbench, rounds);
    }
    if arguments.wants("sends") {
        sends::measure(&world, &cluster, rounds);
    }
    if arguments.wants("bulk") {
        let messages = if arguments.quick { 1_000 } else { 10_000 };
        bulk::measure(&world.binaries, &root.join("template.yaml"), messages);
    }
    if arguments.wants("conversations") {
        conversations::measure(&world, &cluster.database("conversations"), rounds);
    }
}
