//! The one-machine stack.

pub mod twilio;
