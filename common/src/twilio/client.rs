//! Twilio's REST API, as far as messages go: <https://www.twilio.com/docs/messaging/api/message-resource>.
//!
//! Creating a message is not idempotent, so the client gives every failure away as what it is ([`SendError`]) and
//! never repeats a request that may have been written: no redirects, no retries of its own, and a fresh connection
//! for each call, because a pooled one that died while the function was frozen fails after the request was written.

use super::form::Form;
use super::message::Message;
use super::prompt::PromptLayer;
use super::send_error::SendError;
use super::webhook::Media;
use crate::clock;
use crate::config::{Env, Secret};
use crate::tls::{self, TlsError};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use url::Url;

/// How long a connection may take at most, TLS included, and never more than half of the whole call: a call that times
/// out while it connects was surely not processed, one that times out later is ambiguous, so the first clock must
/// always run out before the second. A call that is not under way by then never will be, which whoever must keep
/// something from happening before it can rely on; within AWS a connection takes some tens of milliseconds.
pub const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many messages Twilio returns in one page of a list at most.
const PAGE_SIZE: &str = "1000";

/// Twilio's limits of `ValidityPeriod`, in seconds.
const VALIDITY_PERIOD: std::ops::RangeInclusive<u64> = 1..=36_000;

/// Where Twilio is and who we are there.
#[derive(Debug, Clone)]
pub struct TwilioConfig {
    account_sid: String,
    /// The user of Basic authentication: an API key's SID, or the account's.
    user: String,
    /// The passwords of `user`: the key's secret, or the auth tokens.
    auth_tokens: Vec<Secret>,
    base_url: Url,
    timeout: Duration,
}

impl TwilioConfig {
    /// Reads `TWILIO_ACCOUNT_SID`, `TWILIO_API_BASE_URL` (Twilio's own), `TWILIO_TIMEOUT_MS` (10000): how long a call
    /// may take, its connection included, and the credentials: `TWILIO_API_KEY_SID` and `TWILIO_API_KEY_SECRET`, or
    /// without them `TWILIO_AUTH_TOKEN` (a list while rotating). A key can't sign webhooks, and is revoked by itself.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.text("TWILIO_ACCOUNT_SID");
        let key = (env.optional_text("TWILIO_API_KEY_SID")?, env.optional_secret("TWILIO_API_KEY_SECRET")?);
        let credentials = match key {
            (Some(sid), Some(secret)) => Some((sid, vec![secret])),
            (None, None) => {
                let tokens = env.secrets("TWILIO_AUTH_TOKEN");
                account_sid.clone().zip(tokens)
            }
            _ => {
                env.problem("TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET are only usable together");
                None
            }
        };
        let base_url = env.url_or("TWILIO_API_BASE_URL", "https://api.twilio.com");
        let timeout = env.millis("TWILIO_TIMEOUT_MS", 1..=120_000, 10_000);
        let (user, auth_tokens) = credentials?;
        Some(Self { account_sid: account_sid?, user, auth_tokens, base_url: base_url?, timeout: timeout? })
    }

    /// Puts a configuration together.
    #[must_use]
    pub fn new(
        account_sid: impl Into<String>,
        auth_tokens: Vec<Secret>,
        base_url: Url,
        timeout: Duration,
    ) -> Self {
        let account_sid = account_sid.into();
        Self { user: account_sid.clone(), account_sid, auth_tokens, base_url, timeout }
    }
}

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// reqwest can't be set up.
    #[error("setting up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// Who sends: one of our numbers, or a messaging service that chooses one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// One of our numbers, in E.164.
    Number(String),
    /// A messaging service's SID, `MG…`.
    MessagingService(String),
}

/// A message to be created.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateMessage {
    /// The recipient, in E.164.
    pub to: String,
    /// Who sends.
    pub sender: Sender,
    /// The text; empty if there are only files.
    pub body: String,
    /// Public URLs of files.
    pub media_urls: Vec<String>,
    /// Where Twilio reports what becomes of it ([`super::webhook::status_callback_url`]).
    pub status_callback: Option<String>,
    /// How long Twilio may try; rounded down to seconds and kept within its limits (1 s to 10 h).
    pub validity_period: Option<Duration>,
}

impl CreateMessage {
    fn form(&self) -> Form {
        let mut pairs = vec![("To", self.to.clone())];
        pairs.push(match &self.sender {
            Sender::Number(number) => ("From", number.clone()),
            Sender::MessagingService(sid) => ("MessagingServiceSid", sid.clone()),
        });
        if !self.body.is_empty() {
            pairs.push(("Body", self.body.clone()));
        }
        pairs.extend(self.media_urls.iter().map(|url| ("MediaUrl", url.clone())));
        pairs.extend(self.status_callback.iter().map(|url| ("StatusCallback", url.clone())));
        if let Some(period) = self.validity_period {
            let seconds = period.as_secs().clamp(*VALIDITY_PERIOD.start(), *VALIDITY_PERIOD.end());
            pairs.push(("ValidityPeriod", seconds.to_string()));
        }
        pairs.into_iter().collect()
    }
}

/// Which messages to list. Twilio answers newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Only those to this number.
    pub to: Option<String>,
    /// Only those from this number.
    pub from: Option<String>,
    /// Only those sent at or after this instant. Twilio leaves out what it has not sent yet.
    pub sent_since: Option<Timestamp>,
    /// Only those sent at or before this instant.
    pub sent_until: Option<Timestamp>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages of this page.
    pub messages: Vec<Message>,
    /// What [`TwilioClient::list_next`] takes to get the page after this one.
    pub next: Option<String>,
}

/// Calls Twilio's REST API for one account.
#[derive(Debug, Clone)]
pub struct TwilioClient {
    http: Client,
    config: TwilioConfig,
    /// The position of the token that Twilio accepted last.
    token: Arc<AtomicUsize>,
}

impl TwilioClient {
    /// Prepares a client; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when TLS can't be set up: the function can't start.
    pub fn new(config: TwilioConfig) -> Result<Self, ClientError> {
        let connect_timeout = MAX_CONNECT_TIMEOUT.min(config.timeout / 2);
        let http = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&config.base_url)?)
            .http1_only()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(connect_timeout)
            .connector_layer(PromptLayer(connect_timeout))
            .timeout(config.timeout)
            .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { http, config, token: Arc::default() })
    }

    /// Hands a message to Twilio, in one request. A refused token is never replaced within the call, as the caller may only
    /// send for a short time: if another token is accepted, the next call uses that.
    ///
    /// # Errors
    ///
    /// [`SendError`], whose [`SendError::outcome`] says whether it may be handed over again.
    pub async fn create_message(&self, message: &CreateMessage) -> Result<Message, SendError> {
        let form = message.form();
        let token = self.token.load(Ordering::Relaxed);
        let answer = match self.call_with(token, Method::POST, self.messages_url(), Some(&form)).await {
            Err(SendError::Refused { status: 401, .. })
                if self.config.auth_tokens.len() > 1
                    && self.check().await.is_ok()
                    && self.token.load(Ordering::Relaxed) != token =>
            {
                return Err(SendError::TokenRefused);
            }
            outcome => outcome?,
        };
        let status = answer.status;
        let message = message_of(answer)?;
        // Something on the way answered: by such an id nothing could ever be told of the message.
        let is_sid = message.sid.starts_with("SM") || message.sid.starts_with("MM");
        if is_sid { Ok(message) } else { Err(unreadable(status, "its SID is not a message's")) }
    }

    /// Reads one message.
    ///
    /// # Errors
    ///
    /// [`SendError`]; a SID that Twilio doesn't know is `Refused` with code 20404. Reading again is always safe.
    pub async fn fetch_message(&self, sid: &str) -> Result<Message, SendError> {
        message_of(self.call(Method::GET, self.message_url(sid), None).await?)
    }

    /// Asks Twilio to cancel a message that it has not sent yet. Cancelling again is safe.
    ///
    /// # Errors
    ///
    /// [`SendError`]; a message that was already sent is `Refused`.
    pub async fn cancel_message(&self, sid: &str) -> Result<Message, SendError> {
        let form = Form::from_iter([("Status", "canceled")]);
        message_of(self.call(Method::POST, self.message_url(sid), Some(&form)).await?)
    }

    /// Lists messages, the first page of them.
    ///
    /// # Errors
    ///
    /// [`SendError`]. Reading again is always safe.
    pub async fn list_messages(&self, filter: &MessageFilter) -> Result<MessagePage, SendError> {
        let mut url = self.messages_url();
        let second = |instant: &Timestamp| instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(filter.to.iter().map(|to| ("To", to)));
            query.extend_pairs(filter.from.iter().map(|from| ("From", from)));
            query.extend_pairs(filter.sent_since.iter().map(|since| ("DateSent>", second(since))));
            query.extend_pairs(filter.sent_until.iter().map(|until| ("DateSent<", second(until))));
            query.append_pair("PageSize", PAGE_SIZE);
        }
        page_of(self.call(Method::GET, url, None).await?)
    }

    /// Reads the page after one whose `next` is given.
    ///
    /// # Errors
    ///
    /// [`SendError`]; `Unreadable` when `next` isn't a path at Twilio, so that our credentials go nowhere else.
    pub async fn list_next(&self, next: &str) -> Result<MessagePage, SendError> {
        let url =
            self.config.base_url.join(next).ok().filter(|url| url.origin() == self.config.base_url.origin());
        let url = url.ok_or_else(|| unreadable(StatusCode::OK, "the next page is not at Twilio"))?;
        page_of(self.call(Method::GET, url, None).await?)
    }

    /// Lists the files of a message.
    ///
    /// # Errors
    ///
    /// [`SendError`]. Reading again is always safe.
    pub async fn media_of(&self, sid: &str) -> Result<Vec<Media>, SendError> {
        let sid = utf8_percent_encode(sid, NON_ALPHANUMERIC);
        let answer =
            self.call(Method::GET, self.resource(&format!("Messages/{sid}/Media.json")), None).await?;
        let listed = answer.json.get("media_list").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| unreadable(answer.status, "it is not a list of files"))?;
        let file = |entry: &Value| {
            // The resource without its `.json` is the file itself.
            let path = entry.get("uri")?.as_str()?.trim_end_matches(".json");
            Some(Media {
                url: self.config.base_url.join(path).ok()?.into(),
                content_type: entry.get("content_type").and_then(Value::as_str).map(str::to_owned),
            })
        };
        Ok(listed.iter().filter_map(file).collect())
    }

    /// Asks for one message of the list, whatever it is: the cheapest call that shows whether Twilio answers and
    /// takes our credentials.
    ///
    /// # Errors
    ///
    /// [`SendError`], as for any call.
    pub async fn check(&self) -> Result<(), SendError> {
        let mut url = self.messages_url();
        url.query_pairs_mut().append_pair("PageSize", "1");
        page_of(self.call(Method::GET, url, None).await?).map(drop)
    }

    fn messages_url(&self) -> Url {
        self.resource("Messages.json")
    }

    fn message_url(&self, sid: &str) -> Url {
        // A SID that came from outside must not lead to another resource.
        self.resource(&format!("Messages/{}.json", utf8_percent_encode(sid, NON_ALPHANUMERIC)))
    }

    fn resource(&self, name: &str) -> Url {
        let mut url = self.config.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}/2010-04-01/Accounts/{}/{name}", self.config.account_sid);
        url.set_path(&path);
        url
    }

    /// Makes one call that may be repeated, with each of our tokens until one is accepted, and remembers that one.
    async fn call(&self, method: Method, url: Url, form: Option<&Form>) -> Result<Answer, SendError> {
        let tokens = self.config.auth_tokens.len();
        let first = self.token.load(Ordering::Relaxed);
        let mut outcome = self.call_with(first, method.clone(), url.clone(), form).await;
        for token in (first + 1..first + tokens).map(|position| position % tokens) {
            if !matches!(outcome, Err(SendError::Refused { status: 401, .. })) {
                break;
            }
            outcome = self.call_with(token, method.clone(), url.clone(), form).await;
            if outcome.is_ok() {
                self.token.store(token, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Makes one request with one of our tokens.
    async fn call_with(
        &self,
        token: usize,
        method: Method,
        url: Url,
        form: Option<&Form>,
    ) -> Result<Answer, SendError> {
        let token = self.config.auth_tokens.get(token).map_or("", Secret::expose);
        let mut request = self.http.request(method, url).basic_auth(&self.config.user, Some(token));
        if let Some(form) = form {
            request = request
                .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.to_urlencoded());
        }
        answer(request).await
    }
}

/// A 2xx with JSON in it.
struct Answer {
    status: StatusCode,
    json: Value,
}

async fn answer(request: RequestBuilder) -> Result<Answer, SendError> {
    let response = request.send().await.map_err(|error| {
        // The URL of a list holds phone numbers, which no log may show.
        let error = error.without_url();
        if error.is_connect() { SendError::Connect(error) } else { SendError::NoAnswer(error) }
    })?;
    let status = response.status();
    let retry_after = retry_after(response.headers(), clock::now());
    let body = response.bytes().await.map_err(reqwest::Error::without_url);
    let json =
        body.map_err(Into::into).and_then(|body| serde_json::from_slice::<Value>(&body).map_err(Into::into));
    let code = json.as_ref().ok().and_then(error_code);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(SendError::Limited { code, retry_after });
    }
    if status.is_server_error() {
        return Err(SendError::Failed { status: status.as_u16(), code });
    }
    match (json, code) {
        (Ok(json), _) if status.is_success() => Ok(Answer { status, json }),
        (Err(source), _) => Err(SendError::Unreadable { status: status.as_u16(), source }),
        (Ok(_), Some(code)) if status.is_client_error() => {
            Err(SendError::Refused { status: status.as_u16(), code, retry_after })
        }
        (Ok(_), _) => Err(unreadable(status, "not an answer of Twilio's API")),
    }
}

fn error_code(json: &Value) -> Option<u32> {
    json.get("code")?.as_u64()?.try_into().ok()
}

fn message_of(answer: Answer) -> Result<Message, SendError> {
    Message::from_json(&answer.json).ok_or_else(|| unreadable(answer.status, "it has no SID"))
}

fn page_of(Answer { status, json }: Answer) -> Result<MessagePage, SendError> {
    let listed = json.get("messages").and_then(Value::as_array);
    let messages =
        listed.and_then(|listed| listed.iter().map(Message::from_json).collect::<Option<Vec<_>>>());
    let messages = messages.ok_or_else(|| unreadable(status, "it is not a list of messages"))?;
    let next = json.get("next_page_uri").and_then(Value::as_str).filter(|next| !next.is_empty());
    Ok(MessagePage { messages, next: next.map(str::to_owned) })
}

fn unreadable(status: StatusCode, reason: &'static str) -> SendError {
    SendError::Unreadable { status: status.as_u16(), source: reason.into() }
}

/// How long we leave Twilio alone at most, whatever it asks for: then we ask again. A message is tried for a day.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `Retry-After` in either of its forms (RFC 9110 §10.2.3); an instant that has passed asks for no wait.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_PAUSE));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(at.duration_since(now).try_into().unwrap_or(Duration::ZERO).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests;
