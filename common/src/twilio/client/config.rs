//! The client's configuration.

use crate::config::{Env, Secret};
use crate::domain::sids::AccountSid;
use crate::tls::TlsError;
use std::time::Duration;
use url::Url;

/// The account, credentials, base URL and timeout of a [`TwilioClient`](super::TwilioClient).
#[derive(Debug, Clone)]
pub struct TwilioConfig {
    pub(super) account_sid: AccountSid,
    /// The user name for Basic authentication: the SID of an API key, or the account SID.
    pub(super) user: String,
    /// The passwords for `user`: the secret of the API key, or the Auth Tokens.
    pub(super) auth_tokens: Vec<Secret>,
    pub(super) base_url: Url,
    pub(super) timeout: Duration,
}

impl TwilioConfig {
    /// Reads `TWILIO_ACCOUNT_SID`, `TWILIO_API_BASE_URL` (default `https://api.twilio.com`), `TWILIO_TIMEOUT_MS`
    /// (default 10000; limit of one call, including the connection) and the credentials.
    ///
    /// The credentials are `TWILIO_API_KEY_SID` with `TWILIO_API_KEY_SECRET`, or else `TWILIO_AUTH_TOKEN` (a list
    /// during a rotation). An API key is safer: it cannot sign webhooks and can be revoked separately.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.parse::<AccountSid>("TWILIO_ACCOUNT_SID");
        let key = (env.optional_text("TWILIO_API_KEY_SID")?, env.optional_secret("TWILIO_API_KEY_SECRET")?);
        let credentials = match key {
            (Some(sid), Some(secret)) => Some((sid, vec![secret])),
            (None, None) => {
                let tokens = env.secrets("TWILIO_AUTH_TOKEN");
                account_sid.clone().map(String::from).zip(tokens)
            }
            _ => {
                env.problem("TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET must be set together");
                None
            }
        };
        let base_url = env.url_or("TWILIO_API_BASE_URL", "https://api.twilio.com");
        let timeout = env.millis("TWILIO_TIMEOUT_MS", 1..=120_000, 10_000);
        let (user, auth_tokens) = credentials?;
        Some(Self { account_sid: account_sid?, user, auth_tokens, base_url: base_url?, timeout: timeout? })
    }

    /// Returns the account.
    #[must_use]
    pub fn account_sid(&self) -> &AccountSid {
        &self.account_sid
    }

    /// Creates a configuration that authenticates with Auth Tokens.
    #[must_use]
    pub fn new(account_sid: AccountSid, auth_tokens: Vec<Secret>, base_url: Url, timeout: Duration) -> Self {
        Self { user: account_sid.clone().into(), account_sid, auth_tokens, base_url, timeout }
    }
}

/// An error while creating a client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS could not be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client could not be built.
    #[error("building the HTTP client")]
    Http(#[source] reqwest::Error),
}
