//! TLS: certificates, and servers that do not speak it.

use crate::{LONG, SHORT, TOLERANCE, deliver, local, server, start_response};
use common::subscribers::{Outcome, Subscribers, SubscribersConfig};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::CertificateDer;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// Resolves every name to this machine.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: Name) -> Resolving {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
    }
}

/// Starts a server with a certificate for `name`, and returns its port and the certificate.
fn tls_server(name: &str) -> (u16, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = [0; 8_192];
            // Fails if the client rejects the certificate.
            if stream.read(&mut request).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            }
        }
    });
    (port, certificate)
}

fn trusting(certificate: CertificateDer<'static>) -> Subscribers {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let tls = common::tls::with_roots(roots).unwrap();
    Subscribers::with(&SubscribersConfig::default().with_loopback(), Arc::new(Loopback), tls).unwrap()
}

#[tokio::test]
async fn a_trusted_certificate_of_the_host_is_required() {
    let (port, certificate) = tls_server("subscriber.example");
    let (own, subscribers) = (format!("https://subscriber.example:{port}/"), trusting(certificate));
    let attempt = deliver(&subscribers, &own, LONG).await;
    assert_eq!((attempt.outcome, attempt.status_code, attempt.error), (Outcome::Delivered, Some(204), None));

    let attempt = deliver(&subscribers, &format!("https://other.example:{port}/"), LONG).await;
    assert_eq!(attempt.outcome, Outcome::Unavailable);
    let error = attempt.error.unwrap();
    assert!(error.contains("certificate not valid for name"), "{error}");

    let attempt = deliver(&local(), &format!("https://127.0.0.1:{port}/?token=s3cret"), LONG).await;
    assert_eq!((attempt.outcome, attempt.status_code), (Outcome::Unavailable, None));
    let error = attempt.error.unwrap();
    assert!(error.contains("invalid peer certificate") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_unavailable() {
    let address = server(|mut stream| async move {
        start_response(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let attempt = deliver(&local(), &format!("https://{address}/"), LONG).await;
    assert_eq!((attempt.outcome, attempt.status_code), (Outcome::Unavailable, None));
}

#[tokio::test]
async fn a_server_that_does_not_finish_the_handshake_ends_at_the_deadline() {
    let address = server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let attempt = deliver(&local(), &format!("https://{address}/"), SHORT).await;
    assert_eq!(attempt.outcome, Outcome::TimedOut);
    assert!((SHORT..SHORT + TOLERANCE).contains(&attempt.duration), "{:?}", attempt.duration);
}
