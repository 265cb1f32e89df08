//! The Twilio simulator from outside: over its sockets, and with Twilio's own SDK.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod callbacks;
mod faults;
mod handsets;
mod rest;
mod sdk;
mod support;
