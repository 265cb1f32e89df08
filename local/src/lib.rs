//! The local stack: runs the functions of `template.yaml` on one machine.
//!
//! One process emulates API Gateway, Lambda, SQS and EventBridge Scheduler. Twilio and the Collections Monitor are
//! simulated.

mod children;
mod clock;
pub mod dashboards;
pub mod gateway;
pub mod lambda;
pub mod listen;
pub mod metrics;
pub mod monitor;
mod pollers;
pub mod postgres;
mod schedules;
mod secrets;
pub mod settings;
pub mod sqs;
pub mod stack;
pub use template;
