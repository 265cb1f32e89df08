//! Code that several functions share and that combines adapters.
//!
//! Functions use services, services use adapters, adapters use the domain. `common/tests/layers.rs` checks this order.

pub mod archive;
pub mod batch;
pub mod batches;
pub mod caller;
pub mod consent;
pub mod conversation;
pub mod delivery;
pub mod endpoint;
pub mod event_hints;
pub mod events;
pub mod identify;
pub mod inbound;
pub mod lookup;
pub mod media;
pub mod message;
pub mod parts;
pub mod receive;
pub mod sending;
pub mod subscription;
pub mod templates;
pub mod wake_ups;
