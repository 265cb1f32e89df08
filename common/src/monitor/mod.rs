//! The Collections Monitor, which knows whose number it is, and the tenant profile service, which is told in which
//! language a tenant writes.
//!
//! Both are other teams' services: what they answer is read with suspicion (a limit of size, a shape, no redirects), and
//! neither can delay the storing of a message, which happened before either is asked.

mod answer;
mod breaker;
mod client;
mod error;
mod peer;
mod profile;

pub use answer::{Answer, Match, PREFERENCE_CONFIDENCE};
pub use client::{Ask, MonitorClient, MonitorConfig, Said};
pub use error::{PeerError, SetupError};
pub use profile::{ProfileClient, ProfileConfig, Told};
