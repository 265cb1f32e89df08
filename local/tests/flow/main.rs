//! The flow through the whole stack: the built command, the built functions, real processes and sockets.
//!
//! `make test` builds what these tests start; `cargo test -p local --test flow` runs them alone.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail the test")]

mod callbacks;
mod cancel;
mod chaos;
mod client;
mod cold_start;
mod create_faults;
mod database_lost;
mod database_tls;
mod door;
mod duplicates;
mod foreign_sqs;
mod gateway;
mod happy_path;
mod health_checks;
mod misrouted;
mod operator;
mod opt_out;
mod oracle;
mod outages;
mod pace;
mod poison;
mod pooled;
mod pooler;
mod quiet_hours;
mod reconcile;
mod redelivery;
mod restart;
mod restored;
mod second_creates;
mod sender_killed;
mod stack;
mod stop_meets_send;
mod surely_not;
mod tenants;
mod unknown;
mod worker_killed;
