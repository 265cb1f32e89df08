//! Delivers events to subscribers: compares them with subscriptions, sends hints for streams, and runs streams
//! (`common/docs/decisions/0027-deliveries.md`).

mod attempt;
mod config;
mod content;
mod hints;
mod run;

pub use config::{DeliveryConfig, HintConfig};
pub use hints::{HintError, Hints};
pub use run::Deliverer;
