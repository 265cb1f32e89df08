//! The stack from outside: real processes, real sockets, AWS's own SDK.

mod gateway;
mod lambda;
mod sqs;
mod stack;
mod support;
