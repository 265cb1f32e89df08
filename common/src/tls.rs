//! TLS for the HTTP clients, with the machine's own certificate authorities.
//!
//! The SQS client carries Amazon's few roots instead, but whom the certificates of Twilio and of other peers come from
//! is theirs to change at any time, and none of these clients is in a webhook.

use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use url::Url;

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The machine has no usable certificate authorities.
    #[error("no certificate authority was found on this machine")]
    NoRoots,
    /// rustls refuses its own defaults.
    #[error("setting up TLS")]
    Setup(#[from] rustls::Error),
}

/// Returns TLS for calls to `base_url`, whose certificate authorities are read only if that is an `https` address:
/// reading them costs some 3 ms of a cold start (`common/docs/decisions/0003-tls-roots.md`).
///
/// # Errors
///
/// [`TlsError`]: the function can't start.
pub fn client_config(base_url: &Url) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if base_url.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
