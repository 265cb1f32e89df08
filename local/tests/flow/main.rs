//! End-to-end tests of the whole stack with the built command, the built functions, real processes and sockets.
//!
//! `make test` builds the binaries and runs these tests. `cargo test -p local --test flow` runs them alone, after a
//! build.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

mod api_access;
mod api_page;
mod bulk;
mod callbacks;
mod cancel;
mod chaos;
mod client;
mod cold_start;
mod contract;
mod create_faults;
mod daily_limit;
mod database_crash;
mod database_restore;
mod database_tls;
mod deactivations;
mod delivery_retries;
mod duplicates;
mod event_stream;
mod events;
mod happy_path;
mod health_checks;
mod manage_sends;
mod media;
mod moto_sqs;
mod opt_out;
mod oracle;
mod outages;
mod pgbouncer;
mod poison_messages;
mod privacy;
mod quiet_hours;
mod rate_limits;
mod reconcile;
mod redelivery;
mod restart;
mod rotation;
mod sender_killed;
mod sender_rate;
mod senders;
mod services;
mod smoke_test;
mod stack;
mod stop_during_send;
mod subscriber;
mod swapped_webhook_urls;
mod tenants;
mod traces;
mod transaction_pooler;
mod unknown_outcomes;
mod worker_killed;
