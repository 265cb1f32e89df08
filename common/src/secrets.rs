//! Secrets from AWS Secrets Manager: fetched at cold start, and again after a rotation.
//!
//! A function has the ARN of a secret in its environment. The keys of the secret's JSON stand for variables. A variable
//! that is set itself wins, so an installation can do without Secrets Manager.
//!
//! A client that is refused ([`Secrets::renew`]) fetches the secret again, at most once per interval, and retries with
//! the new value. So a rotation needs no deployment (`common/docs/decisions/0022-secrets-at-run-time.md`).

use crate::aws;
use crate::config::{ConfigError, Env, Secret};
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_sdk_secretsmanager::error::BoxError;
use futures::future;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::Instrument;

/// A kind of secret: the variable with its ARN, and the variables that its JSON keys stand for.
#[derive(Debug)]
struct Kind {
    arn_variable: &'static str,
    keys: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 2] = [
    Kind { arn_variable: "DATABASE_SECRET_ARN", keys: &[("DATABASE_URL", "url")] },
    Kind {
        arn_variable: "TWILIO_SECRET_ARN",
        keys: &[
            ("TWILIO_ACCOUNT_SID", "account_sid"),
            ("TWILIO_AUTH_TOKEN", "auth_token"),
            ("TWILIO_API_KEY_SID", "api_key_sid"),
            ("TWILIO_API_KEY_SECRET", "api_key_secret"),
        ],
    },
];

/// The longest backoff before the first retry.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The time limit of a fetch after a peer refused a value. A webhook waits for it and must still have time for the
/// queue and the spool (6 s of its 10 s).
const RENEW_BUDGET: Duration = Duration::from_secs(2);

/// The pause after a fetch that failed. Twilio repeats a refused webhook for some seconds only.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Returns the variables that the keys of a secret stand for, by the variable with its ARN.
#[must_use]
pub fn variables_of(arn_variable: &str) -> Option<Vec<&'static str>> {
    let kind = KINDS.iter().find(|kind| kind.arn_variable == arn_variable)?;
    Some(kind.keys.iter().map(|(variable, _)| *variable).collect())
}

/// A secret could not be fetched. The message names the variable with its ARN and contains no value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Secrets Manager refused the request or was unavailable.
    #[error("fetching the secret of {0}")]
    Refused(&'static str, #[source] BoxError),
    /// Secrets Manager did not respond in time.
    #[error("Secrets Manager did not return the secret of {0} in time ({1:?})")]
    TooSlow(&'static str, Duration),
    /// The secret is not an object of strings.
    #[error("the secret of {0} is not a JSON object whose values are strings")]
    NotAnObject(&'static str),
}

/// The fetched secrets. Clones share them. Empty if the environment has no ARN.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<Store>>);

struct Store {
    client: Client,
    budget: Duration,
    interval: Duration,
    entries: Vec<Arc<Entry>>,
}

struct Entry {
    kind: &'static Kind,
    arn: String,
    values: RwLock<BTreeMap<String, Secret>>,
    /// Grows with each change.
    version: AtomicU64,
    /// When it may be fetched again. Locked during a fetch, so that there is one at a time.
    next_fetch: Mutex<Option<Instant>>,
}

impl Secrets {
    /// Fetches all secrets whose ARNs `lookup` has, at the same time.
    ///
    /// Reads the endpoint, the region and the credentials, as on Lambda, `SECRETS_FETCH_BUDGET_MS` (5000), the time
    /// limit of a fetch with its retries, and `SECRETS_REFETCH_SECONDS` (30), the minimum time between two later
    /// fetches.
    ///
    /// # Errors
    ///
    /// [`SecretError`]. The function should not start.
    pub async fn fetch(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, SecretError> {
        let mut env = Env::new(lookup);
        let budget = env.millis("SECRETS_FETCH_BUDGET_MS", 1..=9_000, 5_000);
        let interval = env.seconds("SECRETS_REFETCH_SECONDS", 1..=3_600, 30);
        let arns = KINDS.iter().map(|kind| (kind, env.optional_text(kind.arn_variable).flatten()));
        let arns: Vec<_> = arns.filter_map(|(kind, arn)| Some((kind, arn?))).collect();
        let (budget, interval) = env.finish(|| Some((budget?, interval?)))?;
        if arns.is_empty() {
            return Ok(Self::default());
        }
        let client = client(lookup);
        let entries = arns.into_iter().map(async |(kind, arn)| {
            let values = RwLock::new(get(&client, kind, &arn, budget).await?);
            let (version, next_fetch) = (AtomicU64::new(1), Mutex::default());
            Ok::<_, SecretError>(Arc::new(Entry { kind, arn, values, version, next_fetch }))
        });
        let entries = future::try_join_all(entries).await?;
        Ok(Self(Some(Arc::new(Store { client, budget, interval, entries }))))
    }

    /// Returns the value of a variable.
    #[must_use]
    pub fn get(&self, variable: &str) -> Option<String> {
        let (entry, key) = self.find(variable)?;
        entry.values().get(key).map(|value| value.expose().to_owned())
    }

    /// Returns the variable with the ARN of the secret, and the key, that stand for a variable.
    #[must_use]
    pub fn place(&self, variable: &str) -> Option<(&'static str, &'static str)> {
        self.find(variable).map(|(entry, key)| (entry.kind.arn_variable, key))
    }

    /// Returns the version of the secret with a variable. It grows with each change.
    #[must_use]
    pub fn version(&self, variable: &str) -> u64 {
        self.find(variable).map_or(0, |(entry, _)| entry.version.load(Ordering::Acquire))
    }

    /// Looks for newer values after a peer refused those of version `seen`. Fetches the secret of `variable` again,
    /// unless that was done less than `SECRETS_REFETCH_SECONDS` ago, or failed less than a second ago. Returns the new
    /// version, or `None` if nothing has changed.
    ///
    /// The fetch continues if the caller stops waiting: within the interval, there is no other one.
    pub async fn renew(&self, variable: &str, seen: u64) -> Option<u64> {
        let store = self.0.as_ref()?;
        let entry = Arc::clone(self.find(variable)?.0);
        let (client, interval, budget) =
            (store.client.clone(), store.interval, store.budget.min(RENEW_BUDGET));
        let renewal = async move { entry.renew(&client, interval, budget, seen).await };
        tokio::spawn(renewal.in_current_span()).await.ok().flatten()
    }

    fn find(&self, variable: &str) -> Option<(&Arc<Entry>, &'static str)> {
        self.0.as_ref()?.entries.iter().find_map(|entry| {
            let (_, key) = entry.kind.keys.iter().find(|(name, _)| *name == variable)?;
            Some((entry, *key))
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.iter().flat_map(|store| &store.entries);
        f.debug_list().entries(entries.map(|entry| entry.kind.arn_variable)).finish()
    }
}

impl Entry {
    fn values(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Secret>> {
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn renew(&self, client: &Client, interval: Duration, budget: Duration, seen: u64) -> Option<u64> {
        let mut next_fetch = self.next_fetch.lock().await;
        let version = self.version.load(Ordering::Acquire);
        if version > seen {
            return Some(version);
        }
        if next_fetch.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        *next_fetch = Some(Instant::now() + interval);
        let secret = self.kind.arn_variable;
        match get(client, self.kind, &self.arn, budget).await {
            Ok(values) if values == *self.values() => {
                tracing::info!(secret, "secret has not changed");
                None
            }
            Ok(values) => {
                *self.values.write().unwrap_or_else(PoisonError::into_inner) = values;
                tracing::info!(secret, "secret has changed");
                Some(self.version.fetch_add(1, Ordering::AcqRel) + 1)
            }
            Err(error) => {
                *next_fetch = Some(Instant::now() + interval.min(FAILED_PAUSE));
                tracing::warn!(error = crate::error::chain(&error), "could not fetch a secret again");
                None
            }
        }
    }
}

fn client(lookup: &dyn Fn(&str) -> Option<String>) -> Client {
    let key = |name| lookup(name).unwrap_or_default();
    let credentials = Credentials::new(
        key("AWS_ACCESS_KEY_ID"),
        key("AWS_SECRET_ACCESS_KEY"),
        lookup("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let mut sdk = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws::http_client())
        // The budget limits each fetch.
        .timeout_config(TimeoutConfig::disabled())
        .retry_config(RetryConfig::standard().with_max_attempts(4).with_initial_backoff(FIRST_BACKOFF))
        .credentials_provider(credentials)
        .identity_cache(IdentityCache::no_cache())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    sdk.set_region(lookup("AWS_REGION").map(Region::new));
    // Set by the local stack. `aws-config` only reads it in its loader, which also reads profiles.
    sdk.set_endpoint_url(lookup("AWS_ENDPOINT_URL_SECRETS_MANAGER").or_else(|| lookup("AWS_ENDPOINT_URL")));
    Client::from_conf(sdk.build())
}

async fn get(
    client: &Client,
    kind: &'static Kind,
    arn: &str,
    budget: Duration,
) -> Result<BTreeMap<String, Secret>, SecretError> {
    let name = kind.arn_variable;
    // Boxed: the SDK's futures are too deeply nested for the compiler.
    let call = Box::pin(client.get_secret_value().secret_id(arn).send());
    let fetched = tokio::time::timeout(budget, call).await.map_err(|_| SecretError::TooSlow(name, budget))?;
    let fetched = fetched.map_err(|error| SecretError::Refused(name, error.into()))?;
    let text = fetched.secret_string().unwrap_or_default();
    // The parser's error could quote the secret.
    let parsed = serde_json::from_str(text).map_err(|_| SecretError::NotAnObject(name))?;
    let Value::Object(object) = parsed else { return Err(SecretError::NotAnObject(name)) };
    let known = object.into_iter().filter(|(key, _)| kind.keys.iter().any(|(_, known)| known == key));
    known
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, Secret::new(text))),
            _ => Err(SecretError::NotAnObject(name)),
        })
        .collect()
}
