//! Subscribers of events: the destinations of deliveries, signatures, and sending without reaching private networks
//! (`common/docs/decisions/0028-destinations.md`).
//!
//! A message is signed according to Standard Webhooks 1.0.0 and is sent once: no retries, no redirects, no proxy, and
//! one deadline for the name, the connection, TLS, the headers and the body. Every address is checked by the connector
//! that connects to it, so a name cannot change between the check and the connection.

mod attempt;
mod challenge;
mod client;
mod config;
mod destination;
mod forbidden;
mod queue;
mod signature;
mod webhook;

pub use attempt::{Attempt, Outcome, Outgoing};
pub use challenge::Refusal;
pub use client::{Subscribers, SubscribersError};
pub use config::SubscribersConfig;
pub use destination::{Destination, InvalidDestination, QueueArn};
pub use forbidden::Forbidden;
pub use signature::new_secret;
