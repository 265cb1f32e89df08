//! Configuration of tenant identification.

use crate::config::Env;
use crate::db::DatabaseConfig;
use crate::db::tenants::LookupIntervals;
use crate::monitor::{MonitorConfig, ProfileConfig};
use std::time::Duration;

/// The maximum of the configurable intervals.
const YEAR_SECONDS: u64 = 31_536_000;

/// Configuration of an [`Identifier`](super::Identifier), read from the environment.
#[derive(Debug, Clone)]
pub struct IdentifierConfig {
    pub(super) database: DatabaseConfig,
    pub(super) monitor: Option<MonitorConfig>,
    pub(super) profiles: Option<ProfileConfig>,
    pub(super) intervals: LookupIntervals,
    pub(super) retry: Duration,
}

impl IdentifierConfig {
    /// Reads [`DatabaseConfig`], [`MonitorConfig`], [`ProfileConfig`], and when a number is looked up again:
    ///
    /// - `TENANT_REFRESH_SECONDS` (86 400): after a match.
    /// - `TENANT_CONFIRM_SECONDS` (10): after a match by one spelling of a new number, to check the other spellings.
    /// - `TENANT_NO_MATCH_TTL_SECONDS` (3600): after no match. It doubles with each consecutive miss, up to
    ///   `TENANT_NO_MATCH_TTL_MAX_SECONDS` (86 400).
    /// - `TENANT_RETRY_SECONDS` (60): after a failed call to the Monitor or the profile service. It doubles up to an
    ///   hour.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let monitor = MonitorConfig::from_env(env);
        let profiles = ProfileConfig::from_env(env);
        let refresh = env.seconds("TENANT_REFRESH_SECONDS", 0..=YEAR_SECONDS, 86_400);
        let confirm = env.seconds("TENANT_CONFIRM_SECONDS", 0..=YEAR_SECONDS, 10);
        let no_match = env.seconds("TENANT_NO_MATCH_TTL_SECONDS", 0..=YEAR_SECONDS, 3_600);
        let no_match_max = env.seconds("TENANT_NO_MATCH_TTL_MAX_SECONDS", 0..=YEAR_SECONDS, 86_400);
        let retry = env.seconds("TENANT_RETRY_SECONDS", 1..=3_600, 60);
        let (no_match, no_match_max) = (no_match?, no_match_max?);
        // If the first interval is configured above the maximum, it is the maximum.
        let intervals = LookupIntervals {
            refresh: refresh?,
            confirm: confirm?,
            no_match,
            no_match_max: no_match_max.max(no_match),
        };
        Some(Self { database: database?, monitor: monitor?, profiles: profiles?, intervals, retry: retry? })
    }
}
