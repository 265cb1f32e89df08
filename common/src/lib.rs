//! What every function of the SMS service shares: the [`domain`], which does no I/O, and the adapters to
//! Twilio, SQS, Postgres, HTTP and the Monitor around it.
//!
//! Imports only go down: functions use adapters, adapters use the domain, no adapter uses another.

pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod http;
pub mod invoke;
pub mod monitor;
pub mod queue;
pub mod runtime;
pub mod telemetry;
pub mod tls;
pub mod twilio;

/// Every function allocates with it (`common/docs/decisions/0013-what-a-webhook-costs.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
