//! Code that the functions of the SMS service share: the [`service`] layer, the adapters to Twilio, SQS, SNS, S3,
//! Postgres, HTTP and the Monitor, and the [`domain`], which does no I/O.
//!
//! Imports only go down: functions, services, adapters, domain. `common/tests/layers.rs` checks this.

pub mod addresses;
pub mod aws;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod http;
pub mod invoke;
pub mod monitor;
pub mod queue;
pub mod retry_after;
pub mod runtime;
pub mod secrets;
pub mod service;
pub mod storage;
pub mod subscribers;
pub mod telemetry;
pub mod tls;
pub mod topic;
pub mod twilio;

/// The allocator of all functions (`common/docs/decisions/0013-mimalloc-and-a-spawned-task.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
