//! The stack from outside: real processes, real sockets, AWS's own SDK.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod gateway;
mod lambda;
mod sqs;
mod stack;
mod support;
