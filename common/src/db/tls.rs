//! How connections to Postgres are protected, in libpq's words: `sslmode` and `sslrootcert`.

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

/// How connections are protected.
#[derive(Clone)]
pub(super) enum Tls {
    /// Not at all: on this machine, or because the URL says so.
    None,
    /// With rustls.
    Rustls(MakeRustlsConnect),
}

impl Tls {
    /// Asks Postgres to give up what a connection is busy with. That it can't be asked is no error: the statement's
    /// failure is reported as it is.
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

/// What a URL says about TLS.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    mode: Option<String>,
    root_file: Option<String>,
}

impl Wanted {
    /// Takes libpq's TLS parameters out of a URL, since the driver knows few of them.
    pub(super) fn take(url: &str) -> (String, Self) {
        let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), Self::default()) };
        let mut wanted = Self::default();
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let slot = match name {
                    "sslmode" => &mut wanted.mode,
                    "sslrootcert" => &mut wanted.root_file,
                    _ => return !pair.is_empty(),
                };
                *slot = Some(percent_decode_str(value).decode_utf8_lossy().into_owned());
                false
            })
            .collect();
        let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        (url, wanted)
    }

    /// Returns the driver's mode. Every mode that asks for TLS also verifies the server, whatever its name, except for
    /// `require` on this machine.
    pub(super) fn mode(&self, is_this_machine: bool) -> SslMode {
        match self.mode.as_deref() {
            Some("disable") => SslMode::Disable,
            // `prefer` and `allow` would let whoever stands in between choose plain text.
            None | Some("prefer" | "allow") if is_this_machine => SslMode::Disable,
            _ => SslMode::Require,
        }
    }

    /// Makes the client's side of TLS, with the roots in `pem`, in the URL's `sslrootcert`, or in the machine's store.
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

/// Takes whatever certificate a server on this machine shows, as `sslmode=require` means it: there is nobody in between,
/// and such servers sign their certificates themselves.
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
        let (url, wanted) =
            Wanted::take("postgres://u@h/x?host=/tmp&sslmode=verify-ca&port=1&sslrootcert=%2Fca.pem&");
        assert_eq!(url, "postgres://u@h/x?host=/tmp&port=1");
        assert_eq!(wanted, Wanted { mode: Some("verify-ca".into()), root_file: Some("/ca.pem".into()) });
        assert_eq!(Wanted::take("postgres://u@h/x?sslmode=require").0, "postgres://u@h/x");
    }
}
