//! Availability of the Collections Monitor.

use common::tls::{self, TlsError};
use reqwest::{Client, StatusCode};
use url::Url;

/// Why the check of the Monitor failed.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// TLS could not be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client could not be created, or the Monitor did not respond.
    #[error("calling the Monitor")]
    Http(#[source] reqwest::Error),
    /// The Monitor returned a server error.
    #[error("the Monitor returned {0}")]
    Failed(StatusCode),
}

/// Calls the Monitor's base URL.
#[derive(Debug)]
pub(crate) struct Monitor {
    client: Client,
    url: Url,
}

impl Monitor {
    pub(crate) fn new(url: Url) -> Result<Self, MonitorError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&url)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(MonitorError::Http)?;
        Ok(Self { client, url })
    }

    /// Accepts any status but 5xx, because the base URL need not be a resource.
    pub(crate) async fn check(&self) -> Result<(), MonitorError> {
        // The URL may contain credentials.
        let hidden = |error: reqwest::Error| MonitorError::Http(error.without_url());
        let status = self.client.get(self.url.clone()).send().await.map_err(hidden)?.status();
        if status.is_server_error() { Err(MonitorError::Failed(status)) } else { Ok(()) }
    }
}
