//! What `identify-tenant` does for a message that has just come and `reconcile-tenants` for what was left over: asks the
//! Monitor whose numbers they are, keeps its answers, carries the tenants' languages over, and tells their profiles.
//!
//! No function, but a library beside them (decision 6 says why); how things are decided is in decision 11.

mod config;
mod languages;
mod numbers;

pub use config::IdentifierConfig;
pub use numbers::{Asked, Number};

use common::db::tenants::Pace;
use common::db::{Db, DbError};
use common::monitor::{MonitorClient, ProfileClient, SetupError};
use std::time::Duration;

/// How long a claimed check is somebody's: longer than a lookup with its recording takes, shorter than the visibility
/// timeout of `[identify]`, so that a record that failed finds its number free again.
pub const LEASE: Duration = Duration::from_secs(45);

/// Why a function can't start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Postgres can't be spoken to.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The Monitor or the profile service can't be spoken to.
    #[error(transparent)]
    Peer(#[from] SetupError),
}

/// Finds out whose numbers they are. Without a Monitor it asks nobody, without a profile service it tells nobody.
#[derive(Debug)]
pub struct Identifier {
    db: Db,
    monitor: Option<MonitorClient>,
    profiles: Option<ProfileClient>,
    pace: Pace,
    retry: Duration,
}

impl Identifier {
    /// Builds it, and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] when a peer can't be spoken to at all. Its being away is no error.
    pub async fn init(config: IdentifierConfig) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let monitor = config.monitor.map(MonitorClient::new).transpose()?;
        let profiles = config.profiles.map(ProfileClient::new).transpose()?;
        db.warm_up().await;
        Ok(Self { db, monitor, profiles, pace: config.pace, retry: config.retry })
    }

    /// Returns the database, for what only one of the functions does.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns the Monitor, if there is one.
    #[must_use]
    pub fn monitor(&self) -> Option<&MonitorClient> {
        self.monitor.as_ref()
    }

    /// Returns how long to wait before what failed is tried again.
    #[must_use]
    pub fn retry(&self) -> Duration {
        self.retry
    }
}
