//! Files of inbound messages: <https://www.twilio.com/docs/messaging/api/media-resource>.
//!
//! Twilio's URL of a file needs our credentials and redirects to a storage service. The credentials are sent to Twilio
//! only: no redirect is followed automatically, and what it leads to is requested without them, whatever the host. A
//! redirect must lead to an https URL with public addresses. A file is read while it arrives, up to the limit.

use super::{ClientError, Credentials, Current, TwilioClient, TwilioConfig};
use crate::addresses::{self, CheckedResolver, NotPublic, SystemResolver};
use crate::config::{Env, Secret};
use crate::tls;
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use reqwest::{Client, Method, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use url::Url;

/// Twilio's API, which has the files of all regions.
const TWILIO: &str = "https://api.twilio.com";

/// How many redirects are followed. Twilio needs one or two.
const MAX_REDIRECTS: usize = 5;

/// Limits of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// The largest size in bytes.
    pub bytes: usize,
    /// How long everything may take, with all redirects.
    pub timeout: Duration,
}

impl MediaLimits {
    /// Reads `MEDIA_MAX_BYTES` (5 242 880, Twilio's limit for MMS) and `MEDIA_TIMEOUT_MS` (20 000).
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let bytes = env.number("MEDIA_MAX_BYTES", 1..=52_428_800, 5_242_880);
        let timeout = env.millis("MEDIA_TIMEOUT_MS", 1..=120_000, 20_000);
        Some(Self { bytes: usize::try_from(bytes?).ok()?, timeout: timeout? })
    }
}

/// A file could not be fetched or deleted.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The URL is not one of a file at Twilio. No request was sent.
    #[error("the URL is not at Twilio")]
    NotAtTwilio,
    /// Twilio has no such file: not yet, or not any more.
    #[error("Twilio has no such file")]
    NotFound,
    /// The file was deleted.
    #[error("the file was deleted")]
    Gone,
    /// The file is larger than the limit. The rest was not read.
    #[error("the file is larger than {0} bytes")]
    TooLarge(usize),
    /// There are too many redirects.
    #[error("more than {MAX_REDIRECTS} redirects")]
    RedirectLoop,
    /// A redirect leads to no URL, or to one with credentials.
    #[error("a redirect to an invalid URL")]
    InvalidRedirect,
    /// A redirect leads to a URL that is not allowed. No request was sent to it.
    #[error("the destination of a redirect is not allowed")]
    ForbiddenRedirect(#[source] NotPublic),
    /// The server refused the request.
    #[error("HTTP {0}")]
    Refused(u16),
    /// The response has neither a length nor chunks, so a file that breaks off would look complete.
    #[error("the response does not show where the file ends")]
    NoEnd,
    /// There was no connection, or it broke off.
    #[error("no response, or it broke off")]
    Broken(#[source] reqwest::Error),
    /// The time was up.
    #[error("not complete within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// What can be expected of another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaRetry {
    /// The same result.
    Never,
    /// The file, if the message is new: Twilio may not have it yet.
    WhileNew,
    /// The file, once the cause has ended.
    Later,
}

impl MediaError {
    /// Returns what can be expected of another attempt.
    #[must_use]
    pub fn retry(&self) -> MediaRetry {
        match self {
            Self::NotAtTwilio
            | Self::Gone
            | Self::TooLarge(_)
            | Self::RedirectLoop
            | Self::InvalidRedirect
            | Self::ForbiddenRedirect(_) => MediaRetry::Never,
            Self::NotFound => MediaRetry::WhileNew,
            Self::Refused(_) | Self::NoEnd | Self::Broken(_) | Self::TimedOut(_) => MediaRetry::Later,
        }
    }

    /// Returns the code of a file that failed because of this.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAtTwilio => "url_not_allowed",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::TooLarge(_) => "too_large",
            Self::RedirectLoop | Self::InvalidRedirect | Self::ForbiddenRedirect(_) => "redirect_not_allowed",
            Self::Refused(_) | Self::NoEnd | Self::Broken(_) | Self::TimedOut(_) => "retries_exhausted",
        }
    }
}

/// A client for the files of inbound messages.
#[derive(Debug, Clone)]
pub struct MediaFiles {
    twilio: TwilioClient,
    /// For the destinations of redirects.
    files: Client,
    limits: MediaLimits,
    /// Whether redirects may lead to this machine: only if the configured Twilio is without TLS, as in the local stack.
    allow_loopback: bool,
}

impl MediaFiles {
    /// Creates a client. It connects on the first request.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if TLS or the HTTP client cannot be configured. The function should not start.
    pub fn new(config: TwilioConfig, limits: MediaLimits) -> Result<Self, ClientError> {
        let allow_loopback = config.base_url.scheme() == "http";
        let resolver = CheckedResolver::new(Arc::new(SystemResolver), allow_loopback);
        let files = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&config.base_url)?)
            .http1_only()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A proxy would resolve the name itself.
            .no_proxy()
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(config.timeout)
            .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { twilio: TwilioClient::new(config)?, files, limits, allow_loopback })
    }

    /// Fetches the file at a URL of a webhook.
    ///
    /// # Errors
    ///
    /// [`MediaError`]. [`MediaError::retry`] tells whether to try again.
    pub async fn fetch(&self, url: &str) -> Result<Bytes, MediaError> {
        let url = at_twilio(&self.twilio.config.base_url, url)?;
        self.within_the_time(self.follow(url)).await
    }

    /// Deletes the file at Twilio. A file that does not exist is no error.
    ///
    /// # Errors
    ///
    /// [`MediaError`].
    pub async fn delete(&self, url: &str) -> Result<(), MediaError> {
        let url = at_twilio(&self.twilio.config.base_url, url)?;
        if !is_media_resource(&url) {
            return Err(MediaError::NotAtTwilio);
        }
        let status = self.within_the_time(self.authorized(Method::DELETE, &url)).await?.status();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(MediaError::Refused(status.as_u16())),
        }
    }

    async fn within_the_time<T>(
        &self,
        work: impl Future<Output = Result<T, MediaError>>,
    ) -> Result<T, MediaError> {
        let timeout = self.limits.timeout;
        tokio::time::timeout(timeout, work).await.map_err(|_| MediaError::TimedOut(timeout))?
    }

    /// Follows the redirects to the file and reads it.
    async fn follow(&self, url: Url) -> Result<Bytes, MediaError> {
        let mut response = self.authorized(Method::GET, &url).await?;
        let mut at = url;
        for _ in 0..MAX_REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            at = self.destination(&at, &response)?;
            response = self.files.get(at.clone()).send().await.map_err(broken)?;
        }
        match response.status() {
            StatusCode::OK => self.read(response).await,
            StatusCode::NOT_FOUND => Err(MediaError::NotFound),
            StatusCode::GONE => Err(MediaError::Gone),
            status if status.is_redirection() => Err(MediaError::RedirectLoop),
            status => Err(MediaError::Refused(status.as_u16())),
        }
    }

    /// Returns where a redirect leads.
    fn destination(&self, from: &Url, response: &Response) -> Result<Url, MediaError> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let url = location.and_then(|location| from.join(location).ok());
        let url = url.filter(|url| !has_credentials(url)).ok_or(MediaError::InvalidRedirect)?;
        addresses::check_url(&url, self.allow_loopback).map_err(MediaError::ForbiddenRedirect)?;
        Ok(url)
    }

    async fn read(&self, mut response: Response) -> Result<Bytes, MediaError> {
        let (limit, headers) = (self.limits.bytes, response.headers());
        if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
            return Err(MediaError::NoEnd);
        }
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(MediaError::TooLarge(limit));
        }
        let mut file = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if file.len() + chunk.len() > limit {
                return Err(MediaError::TooLarge(limit));
            }
            file.extend_from_slice(&chunk);
        }
        Ok(file.into())
    }

    /// Sends a request with our credentials to Twilio: with those that the secret has by now, if it refuses the others.
    async fn authorized(&self, method: Method, url: &Url) -> Result<Response, MediaError> {
        let current = self.twilio.current();
        let response = self.with_each_password(&current, &method, url).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.twilio.renew(current.version).await {
            return self.with_each_password(&self.twilio.current(), &method, url).await;
        }
        Ok(response)
    }

    /// Sends a request with each password in turn until Twilio accepts one. Later requests start with that one.
    async fn with_each_password(
        &self,
        current: &Current,
        method: &Method,
        url: &Url,
    ) -> Result<Response, MediaError> {
        let Credentials { user, passwords } = &current.credentials;
        let first = current.accepted.load(Ordering::Relaxed);
        let mut index = first;
        loop {
            let password = passwords.get(index).map_or("", Secret::expose);
            let request = self.twilio.http.request(method.clone(), url.clone());
            let response = request.basic_auth(user, Some(password)).send().await.map_err(broken)?;
            let next = (index + 1) % passwords.len().max(1);
            if response.status() != StatusCode::UNAUTHORIZED || next == first {
                current.accepted.store(index, Ordering::Relaxed);
                return Ok(response);
            }
            index = next;
        }
    }
}

/// Returns a URL if it is at Twilio, which may get our credentials: exactly its host, scheme and port.
fn at_twilio(base: &Url, url: &str) -> Result<Url, MediaError> {
    let url = Url::parse(url).map_err(|_| MediaError::NotAtTwilio)?;
    let is_at = |base: &Url| base.origin() == url.origin();
    let is_allowed = is_at(base) || Url::parse(TWILIO).is_ok_and(|twilio| is_at(&twilio));
    if is_allowed && !has_credentials(&url) { Ok(url) } else { Err(MediaError::NotAtTwilio) }
}

/// The URL of a file may contain a signature, which must not be logged.
fn broken(error: reqwest::Error) -> MediaError {
    match NotPublic::cause_of(&error) {
        Some(not_public) => MediaError::ForbiddenRedirect(not_public.clone()),
        None => MediaError::Broken(error.without_url()),
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns whether a URL is that of one file: `/2010-04-01/Accounts/AC…/Messages/MM…/Media/ME…`.
fn is_media_resource(url: &Url) -> bool {
    let segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    let ["2010-04-01", "Accounts", _, "Messages", _, "Media", file] = segments.as_slice() else {
        return false;
    };
    !file.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_at_twilio_get_our_credentials() {
        let base = Url::parse("https://api.ie1.twilio.com").unwrap();
        for url in [
            "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1",
            "https://API.twilio.com:443/x",
            "https://api.ie1.twilio.com/x",
        ] {
            assert!(at_twilio(&base, url).is_ok(), "{url}");
        }
        for url in [
            "http://api.twilio.com/x",
            "https://api.twilio.com:8443/x",
            "https://api.twilio.com.attacker.example/x",
            "https://api.twilio.com@attacker.example/x",
            "https://user:password@api.twilio.com/x",
            "https://attacker.example/?https://api.twilio.com/",
            "https://attacker.example\\@api.twilio.com/",
            "https://xapi.twilio.com/",
            "https://api.twilio.com./x",
            "//api.twilio.com/x",
            "file:///etc/passwd",
            "",
        ] {
            assert!(matches!(at_twilio(&base, url), Err(MediaError::NotAtTwilio)), "{url}");
        }
    }

    #[test]
    fn only_single_files_can_be_deleted() {
        let of = |path: &str| is_media_resource(&Url::parse(TWILIO).unwrap().join(path).unwrap());
        assert!(of("/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"));
        for path in [
            "/2010-04-01/Accounts/AC1/Messages/MM1",
            "/2010-04-01/Accounts/AC1/Messages/MM1/Media",
            "/2010-04-01/Accounts/AC1/Messages/MM1/Media/",
            "/2010-04-01/Accounts/AC1/Messages/MM1/Media/../../MM1",
            "/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1/x",
        ] {
            assert!(!of(path), "{path}");
        }
    }
}
