//! Asks the Monitor whose number it is.

use super::answer::{self, Answer, Match};
use super::breaker::Breaker;
use super::error::{PeerError, SetupError};
use super::peer;
use crate::clock;
use crate::config::Env;
use reqwest::{Client, StatusCode};
use std::time::{Duration, Instant};
use url::Url;

/// The first wait's upper bound; it doubles with each try.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// No wait is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// One spelling is asked for so often at most, however much of the budget is left.
const TRIES: u32 = 3;

/// Where the Monitor is, and how long it may take.
#[derive(Debug, Clone)]
pub struct MonitorConfig {
    base_url: Url,
    timeout: Duration,
    budget: Duration,
    breaker_open: Duration,
}

impl MonitorConfig {
    /// Reads `MONITOR_API_URL`, without which there is no Monitor, `MONITOR_TIMEOUT_MS` (3000): how long a call may take,
    /// `MONITOR_BUDGET_MS` (10000): how long all calls about one number may take, and `MONITOR_BREAKER_SECONDS` (30): how
    /// long nobody asks after five failures in a row.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let base_url = env.optional_url("MONITOR_API_URL");
        let timeout = env.millis("MONITOR_TIMEOUT_MS", 1..=30_000, 3_000);
        let budget = env.millis("MONITOR_BUDGET_MS", 1..=60_000, 10_000);
        let breaker_open = env.seconds("MONITOR_BREAKER_SECONDS", 0..=86_400, 30);
        let (base_url, timeout, budget, breaker_open) = (base_url?, timeout?, budget?, breaker_open?);
        Some(base_url.map(|base_url| Self { base_url, timeout, budget, breaker_open }))
    }
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Spelling by spelling until one matches: a number that nobody is known for is mostly found by the first.
    UntilMatch,
    /// Every spelling: what is known already is checked, and spellings that belong to different tenants are found out.
    EverySpelling,
}

/// What was said about a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whose it is, by all spellings that were asked for.
    pub answer: Answer,
    /// How many of the spellings were asked for.
    pub asked: usize,
}

/// Calls the Monitor.
#[derive(Debug)]
pub struct MonitorClient {
    http: Client,
    config: MonitorConfig,
    breaker: Breaker,
}

impl MonitorClient {
    /// Prepares a client; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when TLS can't be set up: the function can't start.
    pub fn new(config: MonitorConfig) -> Result<Self, SetupError> {
        let http = peer::client(&config.base_url, config.timeout)?;
        Ok(Self { http, breaker: Breaker::new(config.breaker_open), config })
    }

    /// Tells whether the Monitor is taken to be alive: its last calls did not all fail.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Asks for a number by its spellings, in their order.
    ///
    /// # Errors
    ///
    /// [`PeerError`] when one of the spellings got no answer within the budget: nothing is known then, since the next
    /// spelling must not be taken for the better one.
    pub async fn lookup(&self, spellings: &[String], ask: Ask) -> Result<Said, PeerError> {
        let begun = Instant::now();
        let (mut found, mut asked) = (Vec::new(), 0);
        for spelling in spellings {
            found.extend(self.persist(spelling, begun).await?);
            asked += 1;
            if ask == Ask::UntilMatch && !found.is_empty() {
                break;
            }
        }
        Ok(Said { answer: Answer::of(found), asked })
    }

    /// Asks for the spellings after the first `asked` ones, by which the number was found to be `tenant_id`'s.
    ///
    /// If one of them is another tenant's, all are asked for: the number may have been passed on since.
    ///
    /// # Errors
    ///
    /// As of [`Self::lookup`].
    pub async fn confirm(
        &self,
        spellings: &[String],
        asked: usize,
        tenant_id: &str,
    ) -> Result<Answer, PeerError> {
        let begun = Instant::now();
        let (before, after) = spellings.split_at(asked.min(spellings.len()));
        let mut found = vec![Match { tenant_id: tenant_id.to_owned(), preference: None }];
        for spelling in after {
            found.extend(self.persist(spelling, begun).await?);
        }
        if found.iter().any(|found| found.tenant_id != tenant_id) {
            found.remove(0);
            for spelling in before.iter().rev() {
                found.splice(0..0, self.persist(spelling, begun).await?);
            }
        }
        Ok(Answer::of(found))
    }

    /// Asks for one spelling until there is an answer, with full jitter between the tries, while the budget lasts.
    ///
    /// If the breaker opens between two tries, the first one's failure is the answer: the number was asked about.
    async fn persist(&self, spelling: &str, begun: Instant) -> Result<Vec<Match>, PeerError> {
        let (mut tries, mut failure) = (0, None);
        loop {
            let left = self.config.budget.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(PeerError::TimedOut(self.config.budget));
            }
            if !self.breaker.admits() {
                return Err(failure.unwrap_or(PeerError::BreakerOpen));
            }
            let error = match self.call(spelling, left.min(self.config.timeout)).await {
                Ok(found) => {
                    self.breaker.succeeded();
                    return Ok(found);
                }
                Err(error) => error,
            };
            self.breaker.failed();
            tries += 1;
            let wait = MAX_BACKOFF.min(FIRST_BACKOFF * 2_u32.pow(tries)).mul_f64(clock::random_fraction());
            if tries >= TRIES || !error.may_pass_soon() || begun.elapsed() + wait >= self.config.budget {
                return Err(error);
            }
            tracing::info!(error = crate::error::chain(&error), tries, "the Monitor is asked again");
            failure = Some(error);
            tokio::time::sleep(wait).await;
        }
    }

    async fn call(&self, spelling: &str, timeout: Duration) -> Result<Vec<Match>, PeerError> {
        let url = peer::resource(&self.config.base_url, ["tenants", "lookup"]);
        let request = self.http.get(peer::with_parameter(url, "phone", spelling)).timeout(timeout);
        match peer::exchange(request, timeout).await? {
            (StatusCode::OK, body) => answer::read(&body),
            (StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _) => Ok(Vec::new()),
            (status, _) => Err(PeerError::of(status)),
        }
    }
}

#[cfg(test)]
mod tests;
