//! Whether the Collections Monitor answers at all.

use common::tls::{self, TlsError};
use reqwest::{Client, StatusCode};
use url::Url;

/// Why the Monitor can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client can't be set up, or the Monitor gave no answer.
    #[error("calling the Monitor")]
    Http(#[source] reqwest::Error),
    /// The Monitor is broken.
    #[error("the Monitor answered {0}")]
    Failed(StatusCode),
}

/// Asks the Monitor for its base address.
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

    /// Any answer but a 5xx will do: the base address need not mean anything.
    pub(crate) async fn check(&self) -> Result<(), MonitorError> {
        // The address may hold credentials.
        let hidden = |error: reqwest::Error| MonitorError::Http(error.without_url());
        let status = self.client.get(self.url.clone()).send().await.map_err(hidden)?.status();
        if status.is_server_error() { Err(MonitorError::Failed(status)) } else { Ok(()) }
    }
}
