//! The simulator over HTTP, with a plain client and with Twilio's SDK.

#![expect(clippy::unwrap_used, reason = "a failure in a support function fails the test")]

mod callbacks;
mod deactivations;
mod faults;
mod handsets;
mod imports;
mod media;
mod page;
mod rest;
mod sdk;
mod support;
