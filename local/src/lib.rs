//! The one-machine stack: what AWS does around the functions, done by one process from the same template.

mod children;
mod clock;
pub mod gateway;
pub mod lambda;
pub mod metrics;
pub mod monitor;
mod pollers;
pub mod postgres;
mod schedules;
pub mod settings;
pub mod sqs;
pub mod stack;
pub mod template;
pub mod twilio;
