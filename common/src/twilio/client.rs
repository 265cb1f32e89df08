//! A client for Twilio's Message resource: <https://www.twilio.com/docs/messaging/api/message-resource>.
//!
//! Creating a message is not idempotent, so the client never repeats a create that Twilio may have received: it follows
//! no redirects, makes no retries, and reports each kind of failure separately ([`SendError`]). Each request uses a new
//! connection: a pooled connection that died while the function was frozen fails only after the request was written.

mod config;
mod deactivations;
mod media;
mod response;

use config::Credentials;
pub use config::{ClientError, TwilioConfig};
pub use deactivations::{DeactivationLists, ListError, NumberList, NumberPage};
pub use media::{MediaError, MediaFiles, MediaLimits, MediaRetry};

use super::connect_limit::ConnectLimitLayer;
use super::form::Form;
use super::message::Message;
use super::send_error::SendError;
use super::webhook::Media;
use crate::config::Secret;
use crate::domain::phone::E164;
use crate::domain::sender::Sender;
use crate::domain::sids::MessageSid;
use crate::telemetry::traces::{Kind, Span};
use crate::tls;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, StatusCode};
use response::{JsonResponse, unreadable};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use url::Url;

/// The limit for opening a connection, including TLS; a client uses half of its call timeout if that is shorter.
///
/// A timeout while connecting proves that Twilio did not get the request; a later timeout is ambiguous. So the connect
/// timeout must always end first. A caller can also rely on it: a request that has not been written after this time is
/// never written. From AWS, a connection takes tens of milliseconds.
pub const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Twilio's maximum page size.
const PAGE_SIZE: &str = "1000";

/// Twilio's limits for `ValidityPeriod`, in seconds.
const VALIDITY_PERIOD: std::ops::RangeInclusive<u64> = 1..=36_000;

/// The parameters of a create request.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateMessage {
    /// The recipient.
    pub to: E164,
    /// The sender.
    pub sender: Sender,
    /// The text; empty for a message with only media.
    pub body: String,
    /// Public URLs of the media files.
    pub media_urls: Vec<String>,
    /// The URL for status callbacks ([`super::webhook::status_callback_url`]).
    pub status_callback: Option<String>,
    /// How long the message may wait in Twilio's queue; rounded down to seconds and clamped to Twilio's limits (1 s to
    /// 10 h).
    pub validity_period: Option<Duration>,
}

impl CreateMessage {
    fn form(&self) -> Form {
        let mut pairs = vec![("To", self.to.clone().into())];
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

/// Filters for a list of messages. Twilio returns the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Only messages to this number.
    pub to: Option<E164>,
    /// Only messages from this number.
    pub from: Option<String>,
    /// Only messages sent at or after this time. This excludes messages that Twilio has not sent yet.
    pub sent_since: Option<Timestamp>,
    /// Only messages sent at or before this time.
    pub sent_until: Option<Timestamp>,
}

/// One page of a list of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages of this page.
    pub messages: Vec<Message>,
    /// The URI of the next page, for [`TwilioClient::list_next`].
    pub next: Option<String>,
}

/// A client for the messages of one Twilio account.
#[derive(Debug, Clone)]
pub struct TwilioClient {
    http: Client,
    config: TwilioConfig,
    /// Replaced when Twilio refuses the credentials and the secret has newer ones. Clones share it.
    current: Arc<RwLock<Arc<Current>>>,
}

/// Credentials, the version of the secret that they are from, and the index of the password that Twilio accepted last.
#[derive(Debug)]
struct Current {
    credentials: Credentials,
    version: u64,
    accepted: AtomicUsize,
}

impl TwilioClient {
    /// Creates a client. It connects on the first request.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if TLS or the HTTP client cannot be configured. The function should not start.
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
            .connector_layer(ConnectLimitLayer(connect_timeout))
            .timeout(config.timeout)
            .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Http)?;
        let (credentials, version) = (config.credentials.clone(), config.version());
        let current = Current { credentials, version, accepted: AtomicUsize::new(0) };
        Ok(Self { http, config, current: Arc::new(RwLock::new(Arc::new(current))) })
    }

    /// Creates a message with exactly one request.
    ///
    /// If Twilio refuses the credentials but there are others, in the configuration or by now in the secret, this call
    /// still fails and the next call uses those: the caller's permission to send may have expired by then.
    ///
    /// # Errors
    ///
    /// [`SendError`]. Use [`SendError::retry`] to decide what to do with the message.
    pub async fn create_message(&self, message: &CreateMessage) -> Result<Message, SendError> {
        let form = message.form();
        let current = self.current();
        let used = current.accepted.load(Ordering::Relaxed);
        let response =
            match self.call_with(&current, used, Method::POST, self.messages_url(), Some(&form)).await {
                Err(SendError::Refused { status: 401, .. }) if self.has_others(&current, used).await => {
                    return Err(SendError::TokenRefused);
                }
                outcome => outcome?,
            };
        let status = response.status;
        let message = response::message(response)?;
        // Another SID means that the response came from something between us and Twilio, such as a proxy.
        let is_sid = ["SM", "MM"].iter().any(|prefix| message.sid.as_str().starts_with(prefix));
        if is_sid { Ok(message) } else { Err(unreadable(status, "the SID is not a MessageSid")) }
    }

    /// Fetches one message.
    ///
    /// # Errors
    ///
    /// [`SendError`]; an unknown SID is `Refused` with code 20404. The caller can retry.
    pub async fn fetch_message(&self, sid: &MessageSid) -> Result<Message, SendError> {
        // A SID from outside must not lead to another resource.
        let sid = utf8_percent_encode(sid.as_str(), NON_ALPHANUMERIC);
        response::message(self.get(self.resource(&format!("Messages/{sid}.json"))).await?)
    }

    /// Fetches the first page of a list of messages.
    ///
    /// # Errors
    ///
    /// [`SendError`]. The caller can retry.
    pub async fn list_messages(&self, filter: &MessageFilter) -> Result<MessagePage, SendError> {
        let mut url = self.messages_url();
        let second = |instant: &Timestamp| instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(filter.to.iter().map(|to| ("To", to.as_str())));
            query.extend_pairs(filter.from.iter().map(|from| ("From", from)));
            query.extend_pairs(filter.sent_since.iter().map(|since| ("DateSent>", second(since))));
            query.extend_pairs(filter.sent_until.iter().map(|until| ("DateSent<", second(until))));
            query.append_pair("PageSize", PAGE_SIZE);
        }
        response::page(self.get(url).await?)
    }

    /// Fetches the page at [`MessagePage::next`].
    ///
    /// # Errors
    ///
    /// [`SendError`]; `Unreadable` if `next` is on another host, which must not get our credentials.
    pub async fn list_next(&self, next: &str) -> Result<MessagePage, SendError> {
        let url =
            self.config.base_url.join(next).ok().filter(|url| url.origin() == self.config.base_url.origin());
        let url = url.ok_or_else(|| unreadable(StatusCode::OK, "the next page is on another host"))?;
        response::page(self.get(url).await?)
    }

    /// Lists the media files of a message.
    ///
    /// # Errors
    ///
    /// [`SendError`]. The caller can retry.
    pub async fn list_media(&self, sid: &MessageSid) -> Result<Vec<Media>, SendError> {
        let sid = utf8_percent_encode(sid.as_str(), NON_ALPHANUMERIC);
        let response = self.get(self.resource(&format!("Messages/{sid}/Media.json"))).await?;
        let listed = response.json.get("media_list").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| unreadable(response.status, "not a list of media"))?;
        let file = |entry: &Value| {
            // The URI of a Media resource without `.json` serves the file itself.
            let path = entry.get("uri")?.as_str()?.trim_end_matches(".json");
            Some(Media {
                url: self.config.base_url.join(path).ok()?.into(),
                content_type: entry.get("content_type").and_then(Value::as_str).map(str::to_owned),
            })
        };
        Ok(listed.iter().filter_map(file).collect())
    }

    /// Checks that Twilio is available and accepts our credentials, by listing one message.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub async fn check(&self) -> Result<(), SendError> {
        let mut url = self.messages_url();
        url.query_pairs_mut().append_pair("PageSize", "1");
        response::page(self.get(url).await?).map(drop)
    }

    fn messages_url(&self) -> Url {
        self.resource("Messages.json")
    }

    fn resource(&self, name: &str) -> Url {
        let mut url = self.config.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}/2010-04-01/Accounts/{}/{name}", self.config.account_sid);
        url.set_path(&path);
        url
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the credentials if the secret has newer ones than version `seen`. Returns whether it has.
    async fn renew(&self, seen: u64) -> bool {
        let Some((credentials, version)) = self.config.renew(seen).await else { return false };
        let renewed = Arc::new(Current { credentials, version, accepted: AtomicUsize::new(0) });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        true
    }

    /// Returns whether there are other credentials than the refused ones. Later calls use them.
    async fn has_others(&self, refused: &Current, used: usize) -> bool {
        if refused.credentials.passwords.len() > 1 && self.check().await.is_ok() {
            let current = self.current();
            return current.version != refused.version || current.accepted.load(Ordering::Relaxed) != used;
        }
        self.renew(refused.version).await
    }

    /// Sends a GET request, with each password in turn until Twilio accepts one. Later calls start with that one. If
    /// Twilio refuses all, repeats it with the credentials that the secret has by now.
    async fn get(&self, url: Url) -> Result<JsonResponse, SendError> {
        let current = self.current();
        let outcome = self.get_with(&current, &url).await;
        if is_unauthorized(&outcome) && self.renew(current.version).await {
            return self.get_with(&self.current(), &url).await;
        }
        outcome
    }

    async fn get_with(&self, current: &Current, url: &Url) -> Result<JsonResponse, SendError> {
        let passwords = current.credentials.passwords.len();
        let first = current.accepted.load(Ordering::Relaxed);
        let mut outcome = self.call_with(current, first, Method::GET, url.clone(), None).await;
        for index in (first + 1..first + passwords).map(|position| position % passwords) {
            if !is_unauthorized(&outcome) {
                break;
            }
            outcome = self.call_with(current, index, Method::GET, url.clone(), None).await;
            if outcome.is_ok() {
                current.accepted.store(index, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Sends one request with the password at `index`.
    async fn call_with(
        &self,
        current: &Current,
        index: usize,
        method: Method,
        url: Url,
        form: Option<&Form>,
    ) -> Result<JsonResponse, SendError> {
        let span = Span::child(Kind::Client, || format!("{method} {}", template(&url)).into());
        if span.is_recorded() {
            span.set("http.request.method", method.as_str());
            span.set("url.template", template(&url));
            span.set("server.address", url.host_str().unwrap_or_default());
            span.set_number("server.port", url.port_or_known_default().unwrap_or_default().into());
        }
        let Credentials { user, passwords } = &current.credentials;
        let password = passwords.get(index).map_or("", Secret::expose);
        let mut request = self.http.request(method, url).basic_auth(user, Some(password));
        if let Some(form) = form {
            request = request
                .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.to_urlencoded());
        }
        let outcome = span.wrap(response::send(request)).await;
        match &outcome {
            Ok(response) => span.set_number("http.response.status_code", response.status.as_u16().into()),
            Err(error) => match error.status() {
                Some(status) => {
                    span.set_number("http.response.status_code", status.into());
                    span.fail(&status.to_string());
                }
                None => span.fail("no_response"),
            },
        }
        outcome
    }
}

/// Returns a URL's path without its SIDs. Its query can contain phone numbers.
fn template(url: &Url) -> &'static str {
    let path = url.path();
    if path.ends_with("/Messages.json") {
        "/2010-04-01/Accounts/{AccountSid}/Messages.json"
    } else if path.ends_with("/Media.json") {
        "/2010-04-01/Accounts/{AccountSid}/Messages/{MessageSid}/Media.json"
    } else if path.ends_with(deactivations::PATH) {
        deactivations::PATH
    } else {
        "/2010-04-01/Accounts/{AccountSid}/Messages/{MessageSid}.json"
    }
}

fn is_unauthorized(outcome: &Result<JsonResponse, SendError>) -> bool {
    matches!(outcome, Err(SendError::Refused { status: 401, .. }))
}

#[cfg(test)]
mod tests;
