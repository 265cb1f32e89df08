//! The Monitor's client: looks up the tenant of a phone number.

use super::breaker::Breaker;
use super::error::{RequestError, SetupError};
use super::http;
use super::response::{self, Match, TenantLookup};
use crate::clock;
use crate::config::Env;
use reqwest::{Client, StatusCode};
use std::time::{Duration, Instant};
use url::Url;

/// The base of the exponential backoff.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The maximum backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// The maximum number of attempts for one number format.
const MAX_ATTEMPTS: u32 = 3;

/// The URL and the time limits of the Monitor.
#[derive(Debug, Clone)]
pub struct MonitorConfig {
    base_url: Url,
    timeout: Duration,
    budget: Duration,
    breaker_open: Duration,
}

impl MonitorConfig {
    /// Reads the configuration from the environment. Without `MONITOR_API_URL` the Monitor is disabled (`Some(None)`).
    ///
    /// - `MONITOR_TIMEOUT_MS` (default 3000): the time limit of one request
    /// - `MONITOR_BUDGET_MS` (default 10000): the time limit of all requests for one number
    /// - `MONITOR_BREAKER_SECONDS` (default 30): how long the circuit breaker stays open after five consecutive
    ///   failures
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let base_url = env.optional_url("MONITOR_API_URL");
        let timeout = env.millis("MONITOR_TIMEOUT_MS", 1..=30_000, 3_000);
        let budget = env.millis("MONITOR_BUDGET_MS", 1..=60_000, 10_000);
        let breaker_open = env.seconds("MONITOR_BREAKER_SECONDS", 0..=86_400, 30);
        let (base_url, timeout, budget, breaker_open) = (base_url?, timeout?, budget?, breaker_open?);
        Some(base_url.map(|base_url| Self { base_url, timeout, budget, breaker_open }))
    }
}

/// Which formats of a number are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupMode {
    /// One after the other until one matches. For a number without a known tenant, usually the first one matches.
    FirstMatch,
    /// All formats. Verifies a known tenant, and detects formats that belong to different tenants.
    AllFormats,
}

/// The result of looking up the formats of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The tenant according to all requested formats.
    pub tenant: TenantLookup,
    /// The number of requested formats.
    pub requested: usize,
}

/// A client for the Monitor.
#[derive(Debug)]
pub struct MonitorClient {
    http: Client,
    config: MonitorConfig,
    breaker: Breaker,
}

impl MonitorClient {
    /// Creates a client. It connects on the first request.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if TLS or the HTTP client cannot be configured. The function should not start.
    pub fn new(config: MonitorConfig) -> Result<Self, SetupError> {
        let http = http::client(&config.base_url, config.timeout)?;
        Ok(Self { http, breaker: Breaker::new(config.breaker_open), config })
    }

    /// Returns whether the Monitor is considered available: the circuit breaker is closed.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Looks up a number by its formats, in their order.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the lookup of one format failed. Then the tenant is unknown, because a later format must not
    /// win over an earlier one. Retry later.
    pub async fn lookup(&self, formats: &[String], mode: LookupMode) -> Result<Lookup, RequestError> {
        let started = Instant::now();
        let (mut found, mut requested) = (Vec::new(), 0);
        for format in formats {
            found.extend(self.request_with_retries(format, started).await?);
            requested += 1;
            if mode == LookupMode::FirstMatch && !found.is_empty() {
                break;
            }
        }
        Ok(Lookup { tenant: TenantLookup::of(found), requested })
    }

    /// Looks up the formats after the first `requested` ones, after these gave `tenant_id`.
    ///
    /// If one of them belongs to another tenant, the first ones are requested again, because the number may have
    /// changed hands in between.
    ///
    /// # Errors
    ///
    /// As for [`Self::lookup`].
    pub async fn confirm(
        &self,
        formats: &[String],
        requested: usize,
        tenant_id: &str,
    ) -> Result<TenantLookup, RequestError> {
        let started = Instant::now();
        let (before, after) = formats.split_at(requested.min(formats.len()));
        let mut found = vec![Match { tenant_id: tenant_id.to_owned(), preference: None }];
        for format in after {
            found.extend(self.request_with_retries(format, started).await?);
        }
        if found.iter().any(|found| found.tenant_id != tenant_id) {
            found.remove(0);
            for format in before.iter().rev() {
                found.splice(0..0, self.request_with_retries(format, started).await?);
            }
        }
        Ok(TenantLookup::of(found))
    }

    /// Looks up one format, with retries and full jitter within the budget.
    ///
    /// If the circuit breaker opens between two attempts, returns the error of the previous attempt.
    async fn request_with_retries(&self, format: &str, started: Instant) -> Result<Vec<Match>, RequestError> {
        let (mut attempts, mut last_error) = (0, None);
        loop {
            let left = self.config.budget.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(RequestError::TimedOut(self.config.budget));
            }
            if !self.breaker.allows() {
                return Err(last_error.unwrap_or(RequestError::BreakerOpen));
            }
            let error = match self.request(format, left.min(self.config.timeout)).await {
                Ok(found) => {
                    self.breaker.succeeded();
                    return Ok(found);
                }
                Err(error) => error,
            };
            self.breaker.failed();
            attempts += 1;
            let backoff =
                MAX_BACKOFF.min(FIRST_BACKOFF * 2_u32.pow(attempts)).mul_f64(clock::random_fraction());
            let is_last = attempts >= MAX_ATTEMPTS || started.elapsed() + backoff >= self.config.budget;
            if is_last || !error.is_retryable() {
                return Err(error);
            }
            tracing::info!(error = crate::error::chain(&error), attempts, "retrying tenant lookup");
            last_error = Some(error);
            tokio::time::sleep(backoff).await;
        }
    }

    async fn request(&self, format: &str, timeout: Duration) -> Result<Vec<Match>, RequestError> {
        let url = http::resource(&self.config.base_url, ["tenants", "lookup"]);
        let request = self.http.get(http::with_parameter(url, "phone", format)).timeout(timeout);
        match http::send(("GET", "/tenants/lookup"), request, timeout).await? {
            (StatusCode::OK, body) => response::read(&body),
            (StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _) => Ok(Vec::new()),
            (status, _) => Err(RequestError::of(status)),
        }
    }
}

#[cfg(test)]
mod tests;
