//! Configuration from the environment, validated at start with every problem named at once.
//!
//! A function's `Config` is a [`Configuration`]: it reads what it needs through an [`Env`], everything before it gives up
//! over anything.
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
//! assert_eq!(error.to_string(), "the environment is not usable: INBOUND_QUEUE_URL is missing");
//! ```

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// A value that no log may show: it has no `Display`, and its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value that must not be shown.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the one call that needs it.
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

/// Why a function can't start: each variable at fault with the reason, all at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment is not usable: {}", problems.join("; "))]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    /// Returns a sentence per variable that is missing or wrong. Values are not repeated: they may be secrets.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// What a function is told by its environment.
pub trait Configuration: Sized {
    /// Reads it. `None` is for what `env` has noted a problem of.
    fn read(env: &mut Env<'_>) -> Option<Self>;

    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming every variable at fault.
    fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&process)
    }

    /// Reads what `lookup` knows.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming every variable at fault.
    fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Env::new(lookup);
        let config = Self::read(&mut env);
        env.finish(|| config)
    }
}

/// Reads variables, and remembers which were asked for and what was wrong with them.
///
/// Every reader returns `None` for a variable that is missing or wrong; [`Env::finish`] turns the problems gathered
/// on the way into one error. An empty value counts as missing, since that is how a template leaves one out.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    asked: Vec<&'static str>,
    problems: Vec<String>,
}

impl<'a> Env<'a> {
    /// Reads through `lookup`: the process environment in `main`, a table in tests.
    #[must_use]
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, asked: Vec::new(), problems: Vec::new() }
    }

    /// Returns the names asked for so far, so that a test can compare them with `template.yaml`.
    #[must_use]
    pub fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// Records a problem that no single reader can see, such as two variables that exclude each other.
    pub fn problem(&mut self, sentence: impl Into<String>) {
        self.problems.push(sentence.into());
    }

    fn get(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn require(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name);
        if value.is_none() {
            self.problems.push(format!("{name} is missing"));
        }
        value
    }

    /// Reads a required text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.require(name)
    }

    /// Reads a text that may be left out. The outer `Option` is there so that all readers compose alike.
    pub fn optional_text(&mut self, name: &'static str) -> Option<Option<String>> {
        Some(self.get(name))
    }

    /// Reads a secret that may be left out; the outer `Option` is as in [`Env::optional_text`].
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

    /// Reads a required comma-separated list of texts with at least one entry.
    pub fn list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let value = self.require(name)?;
        let entries: Vec<String> =
            value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
        if entries.is_empty() {
            self.problems.push(format!("{name} has no entry between its commas"));
            return None;
        }
        Some(entries)
    }

    /// Reads a comma-separated list of texts that may be left out.
    pub fn optional_list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let value = self.get(name).unwrap_or_default();
        Some(value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    }

    /// Reads a required absolute `http` or `https` URL.
    pub fn url(&mut self, name: &'static str) -> Option<Url> {
        let value = self.require(name)?;
        self.parse_url(name, &value)
    }

    /// Reads an absolute `http` or `https` URL that defaults to `default`.
    pub fn url_or(&mut self, name: &'static str, default: &'static str) -> Option<Url> {
        let value = self.get(name).unwrap_or_else(|| default.to_owned());
        self.parse_url(name, &value)
    }

    /// Reads an absolute `http` or `https` URL that may be left out; the outer `Option` is as in
    /// [`Env::optional_text`].
    pub fn optional_url(&mut self, name: &'static str) -> Option<Option<Url>> {
        match self.get(name) {
            None => Some(None),
            Some(value) => self.parse_url(name, &value).map(Some),
        }
    }

    /// Reads a required comma-separated list of absolute `http` or `https` URLs, as written, without their final
    /// slashes. `paths` are appended to them later: an entry that ends in one already is a problem.
    ///
    /// They stay strings because signatures are computed over the exact text, which a parser would normalise.
    pub fn base_urls(&mut self, name: &'static str, paths: &[&str]) -> Option<Vec<String>> {
        let entries = self.list(name)?;
        let mut is_valid = true;
        for entry in &entries {
            let Some(url) = self.parse_url(name, entry) else {
                is_valid = false;
                continue;
            };
            let path = url.path().trim_end_matches('/').to_ascii_lowercase();
            if let Some(ending) = paths.iter().find(|ending| path.ends_with(**ending)) {
                self.problems.push(format!("{name} must hold base URLs, without {ending}"));
                is_valid = false;
            }
        }
        is_valid.then(|| entries.into_iter().map(|entry| entry.trim_end_matches('/').to_owned()).collect())
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

    /// Reads a value of any type that parses from text, or `default`.
    pub fn parse_or<T>(&mut self, name: &'static str, default: T) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.get(name) {
            None => Some(default),
            Some(value) => match value.parse() {
                Ok(parsed) => Some(parsed),
                Err(error) => {
                    self.problems.push(format!("{name} is not usable ({error})"));
                    None
                }
            },
        }
    }

    /// Reads a whole number within `range`, or `default`.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> Option<u64> {
        let number = self.parse_or(name, default)?;
        if range.contains(&number) {
            return Some(number);
        }
        self.problems.push(format!("{name} must lie between {} and {}", range.start(), range.end()));
        None
    }

    /// Reads a number of milliseconds within `range`, or `default`.
    pub fn millis(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Option<Duration> {
        self.number(name, range, default).map(Duration::from_millis)
    }

    /// Reads a number of seconds within `range`, or `default`.
    pub fn seconds(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Option<Duration> {
        self.number(name, range, default).map(Duration::from_secs)
    }

    /// Reads a comma-separated list of seconds, or `default`.
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

    /// Builds the configuration, or reports everything that was wrong.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with a sentence per problem. The function must not start: log it and exit.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match build() {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: self.problems }),
        }
    }
}

/// Looks a variable up in the process environment.
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
    fn every_problem_is_named_at_once_and_no_value_is_shown() {
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
                "TOKENS has no entry between its commas",
                "BUDGET_MS must lie between 1 and 100",
                "DELAYS_SECONDS is not a comma-separated list of seconds (invalid digit found in string)",
                "BASES is not an http or https URL",
            ]
        );
    }

    #[test]
    fn lists_are_trimmed_and_defaults_stand_in() {
        let config =
            sample(&[("ACCOUNT", "AC1"), ("TOKENS", "a, b,"), ("BASES", "https://a.example/")]).unwrap();
        assert_eq!(config.account, "AC1");
        assert_eq!(config.tokens, [Secret::new("a"), Secret::new("b")]);
        assert_eq!(config.delays, [Duration::from_secs(60), Duration::from_secs(300)]);
        assert!(!format!("{config:?}").contains("\"a\""));
    }

    #[test]
    fn base_urls_keep_their_spelling_without_the_final_slash() {
        let lookup = |_: &str| Some("HTTPS://A.example:443/x/, http://127.0.0.1:9000".to_owned());
        let mut env = Env::new(&lookup);
        let bases = env.base_urls("X", &["/y"]);
        assert_eq!(bases.unwrap(), ["HTTPS://A.example:443/x", "http://127.0.0.1:9000"]);
    }

    #[test]
    fn a_base_url_that_ends_in_a_path_to_be_appended_is_rejected() {
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
            assert_eq!(error.problems(), ["BASES must hold base URLs, without /webhook/sms"], "{pasted}");
        }
    }
}
