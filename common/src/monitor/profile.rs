//! The client of the tenant profile service, which stores a tenant's language.

use super::error::{RequestError, SetupError};
use super::http;
use crate::config::Env;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::time::Duration;
use url::Url;

/// The URL and the time limit of the profile service.
#[derive(Debug, Clone)]
pub struct ProfileConfig {
    base_url: Url,
    timeout: Duration,
}

impl ProfileConfig {
    /// Reads `TENANT_PROFILE_API_URL`, without which the service is disabled (`Some(None)`), and
    /// `TENANT_PROFILE_TIMEOUT_MS` (default 3000), the time limit of one request.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let base_url = env.optional_url("TENANT_PROFILE_API_URL");
        let timeout = env.millis("TENANT_PROFILE_TIMEOUT_MS", 1..=30_000, 3_000);
        let (base_url, timeout) = (base_url?, timeout?);
        Some(base_url.map(|base_url| Self { base_url, timeout }))
    }
}

/// The result of storing a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageUpdate {
    /// The language is stored in the profile.
    Stored,
    /// The tenant has no profile. There is nothing to do.
    NoProfile,
}

/// A client for the profile service.
#[derive(Debug, Clone)]
pub struct ProfileClient {
    http: Client,
    config: ProfileConfig,
}

impl ProfileClient {
    /// Creates a client. It connects on the first request.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if TLS or the HTTP client cannot be configured. The function should not start.
    pub fn new(config: ProfileConfig) -> Result<Self, SetupError> {
        let http = http::client(&config.base_url, config.timeout)?;
        Ok(Self { http, config })
    }

    /// Stores a tenant's language with one request. The request is idempotent.
    ///
    /// # Errors
    ///
    /// [`RequestError`]. Retry later.
    pub async fn set_language(
        &self,
        tenant_id: &str,
        language: &str,
    ) -> Result<LanguageUpdate, RequestError> {
        let url = http::resource(&self.config.base_url, ["tenants", tenant_id, "language"]);
        let body = json!({ "language": language }).to_string();
        let request = self.http.put(url).header(CONTENT_TYPE, "application/json").body(body);
        match http::send(("PUT", "/tenants/{tenant_id}/language"), request, self.config.timeout).await? {
            (status, _) if status.is_success() => Ok(LanguageUpdate::Stored),
            (StatusCode::NOT_FOUND, _) => Ok(LanguageUpdate::NoProfile),
            (status, _) => Err(RequestError::of(status)),
        }
    }
}
