//! Tells the tenant profile service in which language a tenant writes.

use super::error::{PeerError, SetupError};
use super::peer;
use crate::config::Env;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::time::Duration;
use url::Url;

/// Where the profile service is, and how long it may take.
#[derive(Debug, Clone)]
pub struct ProfileConfig {
    base_url: Url,
    timeout: Duration,
}

impl ProfileConfig {
    /// Reads `TENANT_PROFILE_API_URL`, without which nobody is told, and `TENANT_PROFILE_TIMEOUT_MS` (3000): how long a
    /// call may take.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let base_url = env.optional_url("TENANT_PROFILE_API_URL");
        let timeout = env.millis("TENANT_PROFILE_TIMEOUT_MS", 1..=30_000, 3_000);
        let (base_url, timeout) = (base_url?, timeout?);
        Some(base_url.map(|base_url| Self { base_url, timeout }))
    }
}

/// What became of telling the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The profile has it now.
    Stored,
    /// There is no such profile, and so nothing to do.
    NoProfile,
}

/// Calls the profile service.
#[derive(Debug, Clone)]
pub struct ProfileClient {
    http: Client,
    config: ProfileConfig,
}

impl ProfileClient {
    /// Prepares a client; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when TLS can't be set up: the function can't start.
    pub fn new(config: ProfileConfig) -> Result<Self, SetupError> {
        let http = peer::client(&config.base_url, config.timeout)?;
        Ok(Self { http, config })
    }

    /// Sets a tenant's language, once; setting it again is safe.
    ///
    /// # Errors
    ///
    /// [`PeerError`]; to be tried again later.
    pub async fn set_language(&self, tenant_id: &str, language: &str) -> Result<Told, PeerError> {
        let url = peer::resource(&self.config.base_url, ["tenants", tenant_id, "language"]);
        let body = json!({ "language": language }).to_string();
        let request = self.http.put(url).header(CONTENT_TYPE, "application/json").body(body);
        match peer::exchange(request, self.config.timeout).await? {
            (status, _) if status.is_success() => Ok(Told::Stored),
            (StatusCode::NOT_FOUND, _) => Ok(Told::NoProfile),
            (status, _) => Err(PeerError::of(status)),
        }
    }
}
