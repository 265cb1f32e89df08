//! Webhook requests with Twilio's signature, timeouts, retries and fallback URL.
//!
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use crate::config::Credentials;
use crate::delivery::signature::sign;

/// The largest response body: Twilio's limit for TwiML, 64 KiB.
const MAX_RESPONSE: usize = 64 * 1024;
/// The pause before the first retry, doubled for each further one. Twilio does not publish its value.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// Connection overrides from the fragment of a URL, with Twilio's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overrides {
    retries: u32,
    policy: Policy,
    connect: Duration,
    read: Duration,
    total: Duration,
}

/// The retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    client_error: bool,
    server_error: bool,
    connect: bool,
    read: bool,
}

impl Overrides {
    /// Reads `rc=5&rp=all&ct=…&rt=…&tt=…`. Values out of range and unknown keys are ignored.
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

/// The failure of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("invalid URL: {0}")]
    Url(String),
    #[error("connection failed: {0}")]
    Connect(String),
    #[error("no response: {0}")]
    Read(String),
    #[error("status {0}")]
    Status(u16),
}

impl Failure {
    /// Returns Twilio's error code. <https://www.twilio.com/docs/api/errors/11200>
    fn code(&self) -> u32 {
        if matches!(self, Self::Connect(_)) { 11205 } else { 11200 }
    }
}

/// A webhook request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) url: String,
    pub(crate) fallback: Option<String>,
    pub(crate) form: Vec<(String, String)>,
    /// The value of `I-Twilio-Idempotency-Token`, the same for every attempt.
    pub(crate) token: String,
}

/// One attempt, as shown in the log.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    pub(crate) url: String,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) milliseconds: u64,
}

/// The result of a webhook request.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Outcome {
    /// Whether an attempt got a 2xx response.
    pub(crate) delivered: bool,
    /// The HTTP status of the last attempt, if it got a response.
    pub(crate) status: Option<u16>,
    pub(crate) attempts: Vec<Attempt>,
    #[serde(skip)]
    pub(crate) response: WebhookResponse,
}

/// A 2xx response.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebhookResponse {
    pub(crate) content_type: String,
    pub(crate) body: String,
}

/// Sends webhook requests with one HTTP client per connect timeout.
pub(crate) struct Poster {
    credentials: Arc<RwLock<Credentials>>,
    clients: Mutex<HashMap<Duration, reqwest::Client>>,
}

impl Poster {
    /// Creates a poster that signs each attempt with the token that signs at that time.
    pub(crate) fn new(credentials: Arc<RwLock<Credentials>>) -> Self {
        // Fails if the process already has a crypto provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { credentials, clients: Mutex::default() }
    }

    fn signature(&self, url: &str, form: &[(String, String)]) -> String {
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner);
        sign(credentials.signing_token(), url, form)
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

    /// Posts to the URL and, if all attempts failed, to the fallback URL.
    pub(crate) async fn post(&self, call: &Call) -> Outcome {
        let mut outcome = Outcome::default();
        let Err(failure) = self.post_to(&call.url, &call.form, &call.token, &mut outcome).await else {
            return outcome;
        };
        if let Some(fallback) = &call.fallback {
            let mut form = call.form.clone();
            form.push(("ErrorCode".to_owned(), failure.code().to_string()));
            form.push(("ErrorUrl".to_owned(), without_fragment(&call.url).to_owned()));
            // The outcome contains the failure, and there is no second fallback.
            let _ = self.post_to(fallback, &form, &call.token, &mut outcome).await;
        }
        outcome
    }

    async fn post_to(
        &self,
        url: &str,
        form: &[(String, String)],
        token: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let overrides = Overrides::parse(url.split_once('#').map(|(_, fragment)| fragment));
        let deadline = Instant::now() + overrides.total;
        let mut retries = 0;
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
                Ok((_, response)) => {
                    outcome.delivered = true;
                    outcome.response = response;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let pause = RETRY_PAUSE * 2_u32.pow(retries);
            if retries >= overrides.retries
                || !overrides.policy.retries(&failure)
                || Instant::now() + pause >= deadline
            {
                return Err(failure);
            }
            retries += 1;
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
    ) -> Result<(u16, WebhookResponse), Failure> {
        let target = Target::parse(url)?;
        let client = self.client(overrides.connect).map_err(|error| Failure::Url(chain(&error)))?;
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = client
            .post(target.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8")
            .header("X-Twilio-Signature", self.signature(&target.signed, form))
            .header("I-Twilio-Idempotency-Token", token)
            .header("X-Home-Region", "us1")
            .body(body);
        if let Some(credentials) = target.authorization {
            request = request.header(AUTHORIZATION, credentials);
        }
        let request = async {
            let response = request.send().await.map_err(|error| {
                if error.is_connect() {
                    Failure::Connect(chain(&error))
                } else {
                    Failure::Read(chain(&error))
                }
            })?;
            read_response(response).await
        };
        let limit =
            deadline.saturating_duration_since(Instant::now()).min(overrides.connect + overrides.read);
        let timed_out = || Failure::Read(format!("timeout after {} ms", limit.as_millis()));
        tokio::time::timeout(limit, request).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

async fn read_response(mut response: reqwest::Response) -> Result<(u16, WebhookResponse), Failure> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::Read(chain(&error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE {
            return Err(Failure::Read(format!("response of more than {MAX_RESPONSE} bytes")));
        }
    }
    if !status.is_success() {
        return Err(Failure::Status(status.as_u16()));
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((status.as_u16(), WebhookResponse { content_type, body }))
}

/// A parsed webhook URL. The fragment and the user info are not part of the signed URL; the user info is sent as an
/// `Authorization` header.
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
            return Err(refuse("the scheme must be http or https"));
        }
        let (mut signed, mut authorization) = (bare.to_owned(), None);
        if let Some((scheme, rest)) = bare.split_once("://") {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            if let Some((userinfo, host)) = authority.rsplit_once('@') {
                signed = format!("{scheme}://{host}{}", &rest[authority.len()..]);
                authorization = Some(basic(userinfo));
            }
        }
        if authorization.is_some() {
            parsed.set_username("").map_err(|()| refuse("user info is not possible"))?;
            parsed.set_password(None).map_err(|()| refuse("user info is not possible"))?;
        }
        Ok(Self { url: parsed, signed, authorization })
    }
}

/// Returns the Basic `Authorization` header for the percent-encoded user info of a URL.
fn basic(userinfo: &str) -> String {
    let plain: Vec<u8> = percent_encoding::percent_decode_str(userinfo).collect();
    format!("Basic {}", STANDARD.encode(plain))
}

fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(bare, _)| bare)
}

/// Returns the text of an error and its sources, which reqwest omits.
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
    fn the_fragment_overrides_the_defaults_within_limits() {
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
    fn fragment_and_user_info_are_not_signed() {
        let target = Target::parse("https://bob:p%40ss@example.com/a?b=c@d#rc=5").unwrap();
        assert_eq!(target.signed, "https://example.com/a?b=c@d");
        assert_eq!(target.url.as_str(), "https://example.com/a?b=c@d");
        assert_eq!(target.authorization.as_deref(), Some("Basic Ym9iOnBAc3M="));
        assert!(Target::parse("ftp://example.com/").is_err());
    }
}
