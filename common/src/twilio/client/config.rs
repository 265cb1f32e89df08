//! The client's configuration.

use crate::config::{Env, Secret};
use crate::domain::sids::AccountSid;
use crate::secrets::Secrets;
use crate::tls::TlsError;
use std::time::Duration;
use url::Url;

const KEY_SID: &str = "TWILIO_API_KEY_SID";
const KEY_SECRET: &str = "TWILIO_API_KEY_SECRET";
const AUTH_TOKENS: &str = "TWILIO_AUTH_TOKEN";

/// A user and the passwords that Twilio may accept.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    /// The user name for Basic authentication: the SID of an API key, or the account SID.
    pub(super) user: String,
    /// The passwords for `user`: the secret of the API key, or the Auth Tokens.
    pub(super) passwords: Vec<Secret>,
}

impl Credentials {
    fn from_env(env: &mut Env<'_>, account_sid: Option<&AccountSid>) -> Option<Self> {
        let key = (env.optional_text(KEY_SID)?, env.optional_secret(KEY_SECRET)?);
        match key {
            (Some(user), Some(secret)) => Some(Self { user, passwords: vec![secret] }),
            (None, None) => {
                let passwords = env.secrets(AUTH_TOKENS)?;
                Some(Self { user: account_sid?.clone().into(), passwords })
            }
            _ => {
                env.problem("TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET must be set together");
                None
            }
        }
    }
}

/// The account, credentials, base URL and timeout of a [`TwilioClient`](super::TwilioClient).
#[derive(Debug, Clone)]
pub struct TwilioConfig {
    pub(super) account_sid: AccountSid,
    pub(super) credentials: Credentials,
    /// Where new credentials come from, if Twilio refuses these.
    pub(super) secrets: Secrets,
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
        Self::of_product(env, "TWILIO_API_BASE_URL", "https://api.twilio.com")
    }

    /// Reads the same for Twilio's messaging API, which has a host of its own: `TWILIO_MESSAGING_API_BASE_URL` (default
    /// `https://messaging.twilio.com`) instead of `TWILIO_API_BASE_URL`.
    pub fn for_messaging(env: &mut Env<'_>) -> Option<Self> {
        Self::of_product(env, "TWILIO_MESSAGING_API_BASE_URL", "https://messaging.twilio.com")
    }

    fn of_product(env: &mut Env<'_>, base_url: &'static str, default: &'static str) -> Option<Self> {
        let account_sid = env.parse::<AccountSid>("TWILIO_ACCOUNT_SID");
        let credentials = Credentials::from_env(env, account_sid.as_ref());
        let base_url = env.url_or(base_url, default);
        let timeout = env.millis("TWILIO_TIMEOUT_MS", 1..=120_000, 10_000);
        Some(Self {
            account_sid: account_sid?,
            credentials: credentials?,
            secrets: env.source(&[KEY_SID, KEY_SECRET, AUTH_TOKENS]),
            base_url: base_url?,
            timeout: timeout?,
        })
    }

    /// The version of the secret with the credentials.
    pub(super) fn version(&self) -> u64 {
        self.secrets.version(AUTH_TOKENS)
    }

    /// Returns the credentials of the secret, with their version, if it has changed since version `seen`.
    pub(super) async fn renew(&self, seen: u64) -> Option<(Credentials, u64)> {
        let version = self.secrets.renew(AUTH_TOKENS, seen).await?;
        let mut env = Env::with_secrets(&|_| None, self.secrets.clone());
        let credentials = Credentials::from_env(&mut env, Some(&self.account_sid));
        if credentials.is_none() {
            tracing::error!("the new secret has no credentials for Twilio");
        }
        Some((credentials?, version))
    }

    /// Returns the account.
    #[must_use]
    pub fn account_sid(&self) -> &AccountSid {
        &self.account_sid
    }

    /// Creates a configuration that authenticates with Auth Tokens.
    #[must_use]
    pub fn new(account_sid: AccountSid, auth_tokens: Vec<Secret>, base_url: Url, timeout: Duration) -> Self {
        let credentials = Credentials { user: account_sid.clone().into(), passwords: auth_tokens };
        Self { account_sid, credentials, secrets: Secrets::default(), base_url, timeout }
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
