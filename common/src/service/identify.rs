//! Identifies the tenants behind phone numbers: looks numbers up in the Monitor, stores the results, copies the
//! tenants' languages to their other numbers, and updates their profiles.
//!
//! `identify-tenant` does this for new messages, `reconcile-tenants` for everything else that is due. Decision 11 has
//! the rules.

mod config;
mod languages;
mod numbers;

pub use config::IdentifierConfig;
pub use numbers::{LookupResults, NumberToCheck};

use crate::db::{Db, DbError};
use crate::monitor::{MonitorClient, ProfileClient, SetupError};
use std::time::Duration;

/// How long a claim on a number lasts: longer than a lookup and its recording take, and shorter than the visibility
/// timeout of `[identify]`, so that a retried record can claim its number again.
pub const LEASE: Duration = Duration::from_secs(45);

/// Invalid settings of Postgres, the Monitor or the profile service.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings of Postgres are invalid.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The settings of the Monitor or the profile service are invalid.
    #[error(transparent)]
    Peer(#[from] SetupError),
}

/// Looks numbers up in the Monitor and updates profiles. Both services are optional.
#[derive(Debug)]
pub struct Identifier {
    config: IdentifierConfig,
    db: Db,
    monitor: Option<MonitorClient>,
    profiles: Option<ProfileClient>,
}

impl Identifier {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub async fn init(config: IdentifierConfig) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let monitor = config.monitor.clone().map(MonitorClient::new).transpose()?;
        let profiles = config.profiles.clone().map(ProfileClient::new).transpose()?;
        db.warm_up().await;
        Ok(Self { config, db, monitor, profiles })
    }

    /// Returns the database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns the client of the Monitor, if one is configured.
    #[must_use]
    pub fn monitor(&self) -> Option<&MonitorClient> {
        self.monitor.as_ref()
    }

    /// Returns the first interval of the backoff after a failed lookup.
    #[must_use]
    pub fn retry(&self) -> Duration {
        self.config.retry
    }
}
