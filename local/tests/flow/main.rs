//! The flow through the whole stack: the built command, the built functions, real processes and sockets.
//!
//! `make test` builds what these tests start; `cargo test -p local --test flow` runs them alone.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail the test")]

mod callbacks;
mod client;
mod create_faults;
mod door;
mod duplicates;
mod foreign_sqs;
mod gateway;
mod happy_path;
mod opt_out;
mod outages;
mod poison;
mod restart;
mod second_creates;
mod stack;
mod worker_killed;
