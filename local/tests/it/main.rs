//! Tests of the local stack with real processes, real sockets and the AWS SDK.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod dashboards;
mod deploy;
mod gateway;
mod lambda;
mod sqs;
mod stack;
mod streams;
mod support;
