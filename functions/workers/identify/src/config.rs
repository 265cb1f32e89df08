//! What both functions are told by their environment.

use common::config::Env;
use common::db::DatabaseConfig;
use common::db::tenants::Pace;
use common::monitor::{MonitorConfig, ProfileConfig};
use std::time::Duration;

/// The longest time that can be configured.
const YEAR: u64 = 31_536_000;

/// What both functions are told by their environment.
#[derive(Debug, Clone)]
pub struct IdentifierConfig {
    pub(crate) database: DatabaseConfig,
    pub(crate) monitor: Option<MonitorConfig>,
    pub(crate) profiles: Option<ProfileConfig>,
    pub(crate) pace: Pace,
    pub(crate) retry: Duration,
}

impl IdentifierConfig {
    /// Reads what [`DatabaseConfig`], [`MonitorConfig`] and [`ProfileConfig`] read, and when the Monitor is asked again:
    /// `TENANT_REFRESH_SECONDS` (86 400) after it knew a number, `TENANT_CONFIRM_SECONDS` (10) after it knew a new one by one
    /// spelling, about the others, `TENANT_NO_MATCH_TTL_SECONDS` (3600) after it did not,
    /// doubled with each such answer in a row up to `TENANT_NO_MATCH_TTL_MAX_SECONDS` (86 400), and
    /// `TENANT_RETRY_SECONDS` (60), doubled up to an hour, after no answer; the last also for the profile service.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let monitor = MonitorConfig::from_env(env);
        let profiles = ProfileConfig::from_env(env);
        let refresh = env.seconds("TENANT_REFRESH_SECONDS", 0..=YEAR, 86_400);
        let confirm = env.seconds("TENANT_CONFIRM_SECONDS", 0..=YEAR, 10);
        let no_match = env.seconds("TENANT_NO_MATCH_TTL_SECONDS", 0..=YEAR, 3_600);
        let no_match_max = env.seconds("TENANT_NO_MATCH_TTL_MAX_SECONDS", 0..=YEAR, 86_400);
        let retry = env.seconds("TENANT_RETRY_SECONDS", 1..=3_600, 60);
        let (no_match, no_match_max) = (no_match?, no_match_max?);
        // A longer first wait is meant: the later ones are no shorter.
        let pace =
            Pace { refresh: refresh?, confirm: confirm?, no_match, no_match_max: no_match_max.max(no_match) };
        Some(Self { database: database?, monitor: monitor?, profiles: profiles?, pace, retry: retry? })
    }
}
