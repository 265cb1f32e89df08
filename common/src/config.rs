//! Configuration from environment variables, validated at cold start. An error lists all problems at once.
//!
//! A function's `Config` implements [`Configuration`]. It reads all its variables from an [`Env`] before it returns.
//!
//! ```
//! use common::config::{Configuration, Env};
//! use std::time::Duration;
//!
//! struct Config { queue_url: url::Url, budget: Duration }
//!
//! impl Configuration for Config {
//!     fn read(env: &mut Env<'_>) -> Option<Self> {
//!         let queue_url = env.url("INBOUND_QUEUE_URL");
//!         let budget = env.millis("SQS_SEND_BUDGET_MS", 1_000..=10_000, 2_000);
//!         Some(Self { queue_url: queue_url?, budget: budget? })
//!     }
//! }
//!
//! let error = Config::from_lookup(&|_| None).err().unwrap();
//! assert_eq!(error.to_string(), "invalid configuration: INBOUND_QUEUE_URL is missing");
//! ```

use crate::secrets::{SecretError, Secrets};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// A secret value. It has no `Display`, and its `Debug` output is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value. Do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An invalid configuration: all invalid variables with their reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid configuration: {}", problems.join("; "))]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    /// Returns one sentence per missing or invalid variable, without the values, which can be secrets.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A secret could not be fetched.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A variable or a key of a secret is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A configuration that is read from environment variables.
pub trait Configuration: Sized {
    /// Reads the configuration. Returns `None` if `env` recorded a problem.
    fn read(env: &mut Env<'_>) -> Option<Self>;

    /// Fetches the secrets, and reads the configuration from the environment of the process.
    ///
    /// # Errors
    ///
    /// [`LoadError`]. The function should not start.
    fn load() -> impl Future<Output = Result<Self, LoadError>> {
        async {
            let secrets = Secrets::fetch(&process).await?;
            Ok(Self::from_sources(&process, secrets)?)
        }
    }

    /// Reads the configuration from `lookup`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with all missing and invalid variables.
    fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::from_sources(lookup, Secrets::default())
    }

    /// Reads the configuration from `lookup`, and what it does not have from `secrets`.
    ///
    /// # Errors
    ///
    /// As [`Configuration::from_lookup`].
    fn from_sources(lookup: &dyn Fn(&str) -> Option<String>, secrets: Secrets) -> Result<Self, ConfigError> {
        let mut env = Env::with_secrets(lookup, secrets);
        let config = Self::read(&mut env);
        env.finish(|| config)
    }
}

/// Reads variables and collects problems.
///
/// Each method returns `None` for a missing or invalid variable and records the problem. [`Env::finish`] returns all
/// problems in one error. An empty value counts as missing, because CloudFormation templates use it for an unset
/// parameter.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    secrets: Secrets,
    names: Vec<&'static str>,
    problems: Vec<String>,
}

impl<'a> Env<'a> {
    /// Creates a reader of `lookup`: the process environment in `main`, a table in tests.
    #[must_use]
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self::with_secrets(lookup, Secrets::default())
    }

    /// Creates a reader of `lookup`, and of `secrets` for what it does not have.
    #[must_use]
    pub fn with_secrets(lookup: &'a dyn Fn(&str) -> Option<String>, secrets: Secrets) -> Self {
        Self { lookup, secrets, names: Vec::new(), problems: Vec::new() }
    }

    /// Returns the names of all variables that were read. A test compares them with `template.yaml`.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Records a problem that concerns several variables, such as two that exclude each other.
    pub fn problem(&mut self, sentence: impl Into<String>) {
        self.problems.push(sentence.into());
    }

    fn get(&mut self, name: &'static str) -> Option<String> {
        self.names.push(name);
        self.plain(name).or_else(|| self.secrets.get(name)).filter(|value| !value.is_empty())
    }

    fn plain(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Returns the secrets if none of these variables is set itself, so that their values can be renewed.
    #[must_use]
    pub fn source(&self, names: &[&str]) -> Secrets {
        let is_set = names.iter().any(|name| self.plain(name).is_some());
        if is_set { Secrets::default() } else { self.secrets.clone() }
    }

    fn require(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name);
        if value.is_none() {
            self.problems.push(match self.secrets.place(name) {
                Some((arn, key)) => format!("{name} is missing: the secret of {arn} has no \"{key}\""),
                None => format!("{name} is missing"),
            });
        }
        value
    }

    /// Reads a required string.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.require(name)
    }

    /// Reads a required value of another type.
    pub fn parse<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let value = self.require(name)?;
        self.parse_value(name, &value)
    }

    /// Reads an optional value of another type. The outer `Option` is `None` if the value is invalid.
    pub fn optional_parse<T>(&mut self, name: &'static str) -> Option<Option<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.get(name) {
            None => Some(None),
            Some(value) => self.parse_value(name, &value).map(Some),
        }
    }

    /// Reads an optional string. The outer `Option` is always `Some`, for the same return type as other methods.
    pub fn optional_text(&mut self, name: &'static str) -> Option<Option<String>> {
        Some(self.get(name))
    }

    /// Reads an optional secret. For the outer `Option` see [`Env::optional_text`].
    pub fn optional_secret(&mut self, name: &'static str) -> Option<Option<Secret>> {
        Some(self.get(name).map(Secret))
    }

    /// Reads a required secret.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.require(name).map(Secret)
    }

    /// Reads a required comma-separated list of secrets with at least one entry.
    pub fn secrets(&mut self, name: &'static str) -> Option<Vec<Secret>> {
        Some(self.list(name)?.into_iter().map(Secret).collect())
    }

    /// Reads a required comma-separated list of strings with at least one entry.
    pub fn list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let value = self.require(name)?;
        let entries: Vec<String> =
            value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
        if entries.is_empty() {
            self.problems.push(format!("{name} has no entries"));
            return None;
        }
        Some(entries)
    }

    /// Reads an optional comma-separated list of strings.
    pub fn optional_list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let value = self.get(name).unwrap_or_default();
        Some(value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    }

    /// Reads a required absolute `http` or `https` URL.
    pub fn url(&mut self, name: &'static str) -> Option<Url> {
        let value = self.require(name)?;
        self.parse_url(name, &value)
    }

    /// Reads an absolute `http` or `https` URL, or returns `default`.
    pub fn url_or(&mut self, name: &'static str, default: &'static str) -> Option<Url> {
        let value = self.get(name).unwrap_or_else(|| default.to_owned());
        self.parse_url(name, &value)
    }

    /// Reads an optional absolute `http` or `https` URL. The outer `Option` is `None` if the URL is invalid.
    pub fn optional_url(&mut self, name: &'static str) -> Option<Option<Url>> {
        match self.get(name) {
            None => Some(None),
            Some(value) => self.parse_url(name, &value).map(Some),
        }
    }

    /// Reads a required comma-separated list of absolute `http` or `https` URLs, without trailing slashes. The caller
    /// appends `paths` to them, so an entry that already ends with one of these is a problem.
    ///
    /// Returns strings, because signatures are computed over the exact text, which a URL parser would normalize.
    pub fn base_urls(&mut self, name: &'static str, paths: &[&str]) -> Option<Vec<String>> {
        let entries = self.list(name)?;
        self.check_base_urls(name, entries, paths)
    }

    /// Reads an optional list of base URLs, as [`Env::base_urls`] does. It is empty if the variable is.
    pub fn optional_base_urls(&mut self, name: &'static str, paths: &[&str]) -> Option<Vec<String>> {
        let entries = self.optional_list(name)?;
        self.check_base_urls(name, entries, paths)
    }

    fn check_base_urls(
        &mut self,
        name: &'static str,
        entries: Vec<String>,
        paths: &[&str],
    ) -> Option<Vec<String>> {
        let mut is_valid = true;
        for entry in &entries {
            let Some(url) = self.parse_url(name, entry) else {
                is_valid = false;
                continue;
            };
            let path = url.path().trim_end_matches('/').to_ascii_lowercase();
            if let Some(ending) = paths.iter().find(|ending| path.ends_with(**ending)) {
                self.problems.push(format!("{name} must contain base URLs without {ending}"));
                is_valid = false;
            }
        }
        is_valid.then(|| entries.into_iter().map(|entry| entry.trim_end_matches('/').to_owned()).collect())
    }

    fn parse_value<T>(&mut self, name: &'static str, value: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match value.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.problems.push(format!("{name} is invalid ({error})"));
                None
            }
        }
    }

    fn parse_url(&mut self, name: &'static str, value: &str) -> Option<Url> {
        match Url::parse(value) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            Ok(_) => {
                self.problems.push(format!("{name} is not an http or https URL"));
                None
            }
            Err(error) => {
                self.problems.push(format!("{name} is not a URL ({error})"));
                None
            }
        }
    }

    /// Reads a value of a type with [`FromStr`], or returns `default`.
    pub fn parse_or<T>(&mut self, name: &'static str, default: T) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.get(name) {
            None => Some(default),
            Some(value) => self.parse_value(name, &value),
        }
    }

    /// Reads an integer within `range`, or returns `default`.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> Option<u64> {
        let number = self.parse_or(name, default)?;
        if range.contains(&number) {
            return Some(number);
        }
        self.problems.push(format!("{name} must be between {} and {}", range.start(), range.end()));
        None
    }

    /// Reads a duration in milliseconds within `range`, or returns `default`.
    pub fn millis(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Option<Duration> {
        self.number(name, range, default).map(Duration::from_millis)
    }

    /// Reads a duration in seconds within `range`, or returns `default`.
    pub fn seconds(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Option<Duration> {
        self.number(name, range, default).map(Duration::from_secs)
    }

    /// Reads a comma-separated list of durations in seconds, or returns `default`.
    pub fn seconds_list(&mut self, name: &'static str, default: &[u64]) -> Option<Vec<Duration>> {
        let Some(value) = self.get(name) else {
            return Some(default.iter().copied().map(Duration::from_secs).collect());
        };
        let parsed: Result<Vec<u64>, _> = value.split(',').map(|entry| entry.trim().parse::<u64>()).collect();
        match parsed {
            Ok(seconds) => Some(seconds.into_iter().map(Duration::from_secs).collect()),
            Err(error) => {
                self.problems.push(format!("{name} is not a comma-separated list of seconds ({error})"));
                None
            }
        }
    }

    /// Returns the result of `build`, or all recorded problems.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with all problems. The function should log it and exit.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match build() {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: self.problems }),
        }
    }
}

/// Returns a variable of the process environment.
#[must_use]
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sample {
        account: String,
        tokens: Vec<Secret>,
        delays: Vec<Duration>,
    }

    fn sample(table: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        let lookup = |name: &str| table.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        let mut env = Env::new(&lookup);
        let account = env.text("ACCOUNT");
        let tokens = env.secrets("TOKENS");
        let budget = env.millis("BUDGET_MS", 1..=100, 10);
        let delays = env.seconds_list("DELAYS_SECONDS", &[60, 300]);
        let bases = env.base_urls("BASES", &[]);
        env.finish(|| {
            let _ = (budget?, bases?);
            Some(Sample { account: account?, tokens: tokens?, delays: delays? })
        })
    }

    #[test]
    fn an_error_lists_all_problems_without_values() {
        let error = sample(&[
            ("ACCOUNT", " "),
            ("TOKENS", ","),
            ("BUDGET_MS", "101"),
            ("DELAYS_SECONDS", "1,x"),
            ("BASES", "https://a.example,ftp://b.example"),
        ])
        .unwrap_err();
        assert_eq!(
            error.problems(),
            [
                "ACCOUNT is missing",
                "TOKENS has no entries",
                "BUDGET_MS must be between 1 and 100",
                "DELAYS_SECONDS is not a comma-separated list of seconds (invalid digit found in string)",
                "BASES is not an http or https URL",
            ]
        );
    }

    #[test]
    fn list_entries_are_trimmed_and_missing_variables_have_defaults() {
        let config =
            sample(&[("ACCOUNT", "AC1"), ("TOKENS", "a, b,"), ("BASES", "https://a.example/")]).unwrap();
        assert_eq!(config.account, "AC1");
        assert_eq!(config.tokens, [Secret::new("a"), Secret::new("b")]);
        assert_eq!(config.delays, [Duration::from_secs(60), Duration::from_secs(300)]);
        assert!(!format!("{config:?}").contains("\"a\""));
    }

    #[test]
    fn base_urls_are_unchanged_except_for_the_trailing_slash() {
        let lookup = |_: &str| Some("HTTPS://A.example:443/x/, http://127.0.0.1:9000".to_owned());
        let mut env = Env::new(&lookup);
        let bases = env.base_urls("X", &["/y"]);
        assert_eq!(bases.unwrap(), ["HTTPS://A.example:443/x", "http://127.0.0.1:9000"]);
    }

    #[test]
    fn an_optional_list_of_base_urls_may_be_empty_but_not_invalid() {
        for (value, expected) in [
            (None, Some(vec![])),
            (Some(""), Some(vec![])),
            (Some("https://a.example/"), Some(vec!["https://a.example".to_owned()])),
            (Some("a.example"), None),
            (Some("https://a.example/y"), None),
        ] {
            let lookup = |_: &str| value.map(str::to_owned);
            let mut env = Env::new(&lookup);
            assert_eq!(env.optional_base_urls("X", &["/y"]), expected, "{value:?}");
        }
    }

    #[test]
    fn a_base_url_that_ends_with_an_appended_path_is_rejected() {
        let pasted = [
            "https://a.example/webhook/sms",
            "https://a.example/webhook/sms/",
            "https://a.example/x/Webhook/sms",
            "https://a.example/webhook/sms#rc=5&rp=all",
            "https://a.example,https://b.example/webhook/sms",
        ];
        for pasted in pasted {
            let lookup = |_: &str| Some(pasted.to_owned());
            let mut env = Env::new(&lookup);
            assert_eq!(env.base_urls("BASES", &["/webhook/sms"]), None, "{pasted}");
            let error = env.finish(|| Some(())).unwrap_err();
            assert_eq!(error.problems(), ["BASES must contain base URLs without /webhook/sms"], "{pasted}");
        }
    }
}
