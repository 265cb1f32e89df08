//! TLS of connections to Postgres, with libpq's parameters `sslmode` and `sslrootcert`.

use super::DbError;
use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The protection of connections.
#[derive(Clone)]
pub(super) enum Tls {
    /// None: on the same machine, or because of the URL.
    None,
    /// TLS by rustls.
    Rustls(MakeRustlsConnect),
}

impl Tls {
    /// Sends a cancel request for a connection. Its failure is ignored, because the statement's error is reported.
    pub(super) async fn cancel(&self, token: &CancelToken, budget: Duration) {
        let asked = async {
            match self {
                Self::None => token.cancel_query(NoTls).await,
                Self::Rustls(connector) => token.cancel_query(connector.clone()).await,
            }
        };
        let _ = tokio::time::timeout(budget, asked).await;
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Rustls(_) => "Rustls",
        })
    }
}

/// The TLS parameters of a URL.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TlsParameters {
    mode: Option<String>,
    root_file: Option<String>,
}

impl TlsParameters {
    /// Removes libpq's TLS parameters from a URL, because the driver supports few of them.
    pub(super) fn take(url: &str) -> (String, Self) {
        let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), Self::default()) };
        let mut parameters = Self::default();
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let slot = match name {
                    "sslmode" => &mut parameters.mode,
                    "sslrootcert" => &mut parameters.root_file,
                    _ => return !pair.is_empty(),
                };
                *slot = Some(percent_decode_str(value).decode_utf8_lossy().into_owned());
                false
            })
            .collect();
        let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        (url, parameters)
    }

    /// Returns the driver's mode. Every TLS mode verifies the server, except for `require` on the same machine.
    pub(super) fn mode(&self, is_this_machine: bool) -> SslMode {
        match self.mode.as_deref() {
            Some("disable") => SslMode::Disable,
            // With `prefer` and `allow`, an attacker in between could choose plain text.
            None | Some("prefer" | "allow") if is_this_machine => SslMode::Disable,
            _ => SslMode::Require,
        }
    }

    /// Creates the TLS client, with the root certificates in `pem`, in the URL's `sslrootcert`, or in the system's
    /// store.
    pub(super) fn rustls(&self, pem: Option<&str>, is_this_machine: bool) -> Result<ClientConfig, DbError> {
        let from_file = match self.root_file.as_deref().filter(|file| *file != "system") {
            Some(file) if pem.is_none() => Some(std::fs::read_to_string(file).map_err(setup)?),
            _ => None,
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(setup)?;
        let mut roots = RootCertStore::empty();
        match pem.or(from_file.as_deref()) {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(certificate.map_err(setup)?).map_err(setup)?;
                }
            }
            None if is_this_machine && self.mode.as_deref() == Some("require") => {
                let verifier = Arc::new(OfThisMachine(provider));
                let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
                return Ok(builder.with_no_client_auth());
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn setup(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DbError {
    DbError::Setup(cause.into())
}

/// Accepts any certificate of a server on the same machine, as in libpq's `sslmode=require`. Such servers have
/// self-signed certificates.
#[derive(Debug)]
struct OfThisMachine(Arc<CryptoProvider>);

impl ServerCertVerifier for OfThisMachine {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_parameters_of_the_url_are_kept() {
        let (url, parameters) =
            TlsParameters::take("postgres://u@h/x?host=/tmp&sslmode=verify-ca&port=1&sslrootcert=%2Fca.pem&");
        assert_eq!(url, "postgres://u@h/x?host=/tmp&port=1");
        assert_eq!(
            parameters,
            TlsParameters { mode: Some("verify-ca".into()), root_file: Some("/ca.pem".into()) }
        );
        assert_eq!(TlsParameters::take("postgres://u@h/x?sslmode=require").0, "postgres://u@h/x");
    }
}
