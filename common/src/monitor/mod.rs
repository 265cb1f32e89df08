//! Clients for the Collections Monitor, which maps phone numbers to tenants, and for the tenant profile service, which
//! stores a tenant's language.
//!
//! Both services belong to other teams. Their responses are not trusted: they have a size limit, are validated, and
//! redirects are not followed. Messages are stored before these services are called, so an outage does not delay them.

mod breaker;
mod client;
mod error;
mod http;
mod profile;
mod response;

pub use client::{Lookup, LookupMode, MonitorClient, MonitorConfig};
pub use error::{RequestError, SetupError};
pub use profile::{LanguageUpdate, ProfileClient, ProfileConfig};
pub use response::{Match, PREFERENCE_CONFIDENCE, TenantLookup};
