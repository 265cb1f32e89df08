//! Posting to the customer's URLs as Twilio does: signed, with its time limits, retries and fallback.
//!
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::signature::sign;

/// The longest answer that is looked at; Twilio's own limit for TwiML is 64 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// The pause before a retry, doubled each time. Twilio does not publish its own.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What a URL's fragment asks for, with Twilio's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overrides {
    retries: u32,
    policy: Policy,
    connect: Duration,
    read: Duration,
    total: Duration,
}

/// Which failures are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    client_error: bool,
    server_error: bool,
    connect: bool,
    read: bool,
}

impl Overrides {
    /// Reads `rc=5&rp=all&ct=…&rt=…&tt=…`; values out of bounds and unknown keys change nothing.
    fn parse(fragment: Option<&str>) -> Self {
        let mut overrides = Self {
            retries: 1,
            policy: Policy { client_error: false, server_error: false, connect: true, read: false },
            connect: Duration::from_millis(5_000),
            read: Duration::from_millis(15_000),
            total: Duration::from_millis(15_000),
        };
        for (key, value) in fragment.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            let number = value.parse::<u64>().ok();
            let millis = |low| number.filter(|ms| (low..=15_000).contains(ms)).map(Duration::from_millis);
            match key {
                "rc" => {
                    overrides.retries = number.filter(|n| *n <= 5).map_or(overrides.retries, |n| n as u32)
                }
                "rp" => overrides.policy = Policy::parse(value),
                "ct" => overrides.connect = millis(100).unwrap_or(overrides.connect),
                "rt" => overrides.read = millis(100).unwrap_or(overrides.read),
                "tt" => overrides.total = millis(100).unwrap_or(overrides.total),
                _ => {}
            }
        }
        overrides
    }
}

impl Policy {
    fn parse(value: &str) -> Self {
        let has = |name: &str| value.split(',').any(|policy| policy == name || policy == "all");
        Self { client_error: has("4xx"), server_error: has("5xx"), connect: has("ct"), read: has("rt") }
    }

    fn retries(self, failure: &Failure) -> bool {
        match failure {
            Failure::Connect(_) => self.connect,
            Failure::Read(_) => self.read,
            Failure::Status(400..=499) => self.client_error,
            Failure::Status(500..) => self.server_error,
            Failure::Status(_) | Failure::Url(_) => false,
        }
    }
}

/// Why one try failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("not a URL that can be posted to: {0}")]
    Url(String),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no answer: {0}")]
    Read(String),
    #[error("status {0}")]
    Status(u16),
}

impl Failure {
    /// Twilio's code for it. <https://www.twilio.com/docs/api/errors/11200>
    fn code(&self) -> u32 {
        if matches!(self, Self::Connect(_)) { 11205 } else { 11200 }
    }
}

/// A form on its way to a URL.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) url: String,
    pub(super) fallback: Option<String>,
    pub(super) form: Vec<(String, String)>,
    /// The value of `I-Twilio-Idempotency-Token`, the same on every try.
    pub(super) token: String,
}

/// One try, as the log shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Attempt {
    pub(super) url: String,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) milliseconds: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Outcome {
    /// Whether some try was answered with a 2xx.
    pub(super) delivered: bool,
    /// The last status, if there was any answer.
    pub(super) status: Option<u16>,
    pub(super) attempts: Vec<Attempt>,
    #[serde(skip)]
    pub(super) answer: Answer,
}

/// What a 2xx said.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) content_type: String,
    pub(super) body: String,
}

/// Posts calls; keeps one HTTP client per connect timeout.
pub(super) struct Poster {
    auth_token: String,
    clients: Mutex<HashMap<Duration, reqwest::Client>>,
}

impl Poster {
    /// Signs with `auth_token`.
    pub(super) fn new(auth_token: String) -> Self {
        // Another part of the process may have chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { auth_token, clients: Mutex::default() }
    }

    fn client(&self, connect: Duration) -> reqwest::Result<reqwest::Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&connect) {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(connect)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent("TwilioProxy/1.1")
            .build()?;
        clients.insert(connect, client.clone());
        Ok(client)
    }

    /// Posts to the call's URL and, when all tries failed, to its fallback.
    pub(super) async fn post(&self, call: &Call) -> Outcome {
        let mut outcome = Outcome::default();
        let Err(failure) = self.try_url(&call.url, &call.form, &call.token, &mut outcome).await else {
            return outcome;
        };
        if let Some(fallback) = &call.fallback {
            let mut form = call.form.clone();
            form.push(("ErrorCode".to_owned(), failure.code().to_string()));
            form.push(("ErrorUrl".to_owned(), without_fragment(&call.url).to_owned()));
            // Its failure is in the outcome; there is nothing after a fallback.
            let _ = self.try_url(fallback, &form, &call.token, &mut outcome).await;
        }
        outcome
    }

    async fn try_url(
        &self,
        url: &str,
        form: &[(String, String)],
        token: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let overrides = Overrides::parse(url.split_once('#').map(|(_, fragment)| fragment));
        let deadline = Instant::now() + overrides.total;
        let mut tries = 0;
        loop {
            let started = Instant::now();
            let result = self.once(url, form, token, &overrides, deadline).await;
            let (status, error) = match &result {
                Ok((status, _)) => (Some(*status), None),
                Err(Failure::Status(status)) => (Some(*status), None),
                Err(failure) => (None, Some(failure.to_string())),
            };
            outcome.status = status;
            let milliseconds = started.elapsed().as_millis() as u64;
            outcome.attempts.push(Attempt {
                url: without_fragment(url).to_owned(),
                status,
                error,
                milliseconds,
            });
            let failure = match result {
                Ok((_, answer)) => {
                    outcome.delivered = true;
                    outcome.answer = answer;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let pause = RETRY_PAUSE * 2_u32.pow(tries);
            if tries >= overrides.retries
                || !overrides.policy.retries(&failure)
                || Instant::now() + pause >= deadline
            {
                return Err(failure);
            }
            tries += 1;
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(
        &self,
        url: &str,
        form: &[(String, String)],
        token: &str,
        overrides: &Overrides,
        deadline: Instant,
    ) -> Result<(u16, Answer), Failure> {
        let target = Target::parse(url)?;
        let client = self.client(overrides.connect).map_err(|error| Failure::Url(chain(&error)))?;
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = client
            .post(target.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8")
            .header("X-Twilio-Signature", sign(&self.auth_token, &target.signed, form))
            .header("I-Twilio-Idempotency-Token", token)
            .header("X-Home-Region", "us1")
            .body(body);
        if let Some(credentials) = target.authorization {
            request = request.header(AUTHORIZATION, credentials);
        }
        let exchange = async {
            let response = request.send().await.map_err(|error| {
                if error.is_connect() {
                    Failure::Connect(chain(&error))
                } else {
                    Failure::Read(chain(&error))
                }
            })?;
            read_answer(response).await
        };
        let limit =
            deadline.saturating_duration_since(Instant::now()).min(overrides.connect + overrides.read);
        let timed_out = || Failure::Read(format!("nothing within {} ms", limit.as_millis()));
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

async fn read_answer(mut response: reqwest::Response) -> Result<(u16, Answer), Failure> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::Read(chain(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(Failure::Read(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
    }
    if !status.is_success() {
        return Err(Failure::Status(status.as_u16()));
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((status.as_u16(), Answer { content_type, body }))
}

/// A configured URL, taken apart as Twilio does: the fragment is for Twilio itself, and user and password go
/// into a header; neither is part of what is signed.
struct Target {
    url: Url,
    signed: String,
    authorization: Option<String>,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Failure> {
        let bare = without_fragment(url);
        let refuse = |why: &str| Failure::Url(format!("{bare}: {why}"));
        let mut parsed = Url::parse(bare).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refuse("neither http nor https"));
        }
        let (mut signed, mut authorization) = (bare.to_owned(), None);
        if let Some((scheme, rest)) = bare.split_once("://") {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            if let Some((userinfo, host)) = authority.rsplit_once('@') {
                signed = format!("{scheme}://{host}{}", &rest[authority.len()..]);
                authorization = Some(super::auth::basic(userinfo));
            }
        }
        if authorization.is_some() {
            parsed.set_username("").map_err(|()| refuse("no user can stand in it"))?;
            parsed.set_password(None).map_err(|()| refuse("no password can stand in it"))?;
        }
        Ok(Self { url: parsed, signed, authorization })
    }
}

fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(bare, _)| bare)
}

/// An error with its causes; reqwest's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_overrides_twilios_defaults_within_bounds() {
        let plain = Overrides::parse(None);
        assert_eq!(
            (plain.retries, plain.connect, plain.total),
            (1, Duration::from_secs(5), Duration::from_secs(15))
        );
        assert!(plain.policy.retries(&Failure::Connect(String::new())));
        assert!(!plain.policy.retries(&Failure::Status(503)));

        let all = Overrides::parse(Some("rc=5&rp=all&ct=100&rt=200&tt=300"));
        assert_eq!(
            (all.retries, all.read, all.total),
            (5, Duration::from_millis(200), Duration::from_millis(300))
        );
        assert!(
            all.policy.retries(&Failure::Status(503)) && all.policy.retries(&Failure::Read(String::new()))
        );

        let some = Overrides::parse(Some("rc=9&rp=4xx,rt&ct=1"));
        assert_eq!((some.retries, some.connect), (1, Duration::from_secs(5)));
        assert!(some.policy.retries(&Failure::Status(404)) && !some.policy.retries(&Failure::Status(500)));
        assert!(!some.policy.retries(&Failure::Connect(String::new())));
    }

    #[test]
    fn neither_fragment_nor_user_is_signed() {
        let target = Target::parse("https://bob:p%40ss@example.com/a?b=c@d#rc=5").unwrap();
        assert_eq!(target.signed, "https://example.com/a?b=c@d");
        assert_eq!(target.url.as_str(), "https://example.com/a?b=c@d");
        assert_eq!(target.authorization.as_deref(), Some("Basic Ym9iOnBAc3M="));
        assert!(Target::parse("ftp://example.com/").is_err());
    }
}
