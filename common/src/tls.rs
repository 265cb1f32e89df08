//! TLS for HTTP clients, with the system's root certificates.
//!
//! The SQS client has only Amazon's roots, for faster cold starts of the webhooks. The clients here are not part of a
//! webhook, and Twilio and other services can change their certificate authority at any time.

use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use url::Url;

/// An error while configuring TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system has no usable root certificates.
    #[error("the system has no usable root certificates")]
    NoRoots,
    /// rustls rejected the configuration.
    #[error("configuring TLS")]
    Setup(#[from] rustls::Error),
}

/// Returns the TLS configuration for requests to `base_url`.
///
/// Reads the root certificates only for `https`, because this takes about 3 ms of a cold start
/// (`common/docs/decisions/0003-tls-roots.md`).
///
/// # Errors
///
/// [`TlsError`]. The function should not start.
pub fn client_config(base_url: &Url) -> Result<ClientConfig, TlsError> {
    if base_url.scheme() == "https" { with_system_roots() } else { with_roots(RootCertStore::empty()) }
}

/// Returns the TLS configuration for requests to any host.
///
/// # Errors
///
/// [`TlsError`]. The function should not start.
pub fn with_system_roots() -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    with_roots(roots)
}

/// Returns the TLS configuration with these root certificates.
///
/// # Errors
///
/// [`TlsError::Setup`].
pub fn with_roots(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
