//! Calls to SQS: its JSON protocol, one signed POST each.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html>. Why this
//! is not the AWS SDK: `common/docs/decisions/0013-sqs-without-the-sdk.md`.

use super::signature::{Credentials, Headers, Signer};
use crate::clock;
use crate::config::{Secret, process};
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// The roots that AWS endpoints chain to, from <https://www.amazontrust.com/repository/>, read 2026-11.
///
/// The machine's own store holds some 140 roots, and parsing them is most of a cold start here
/// (`common/docs/decisions/0003-tls-roots.md`).
const AMAZON_ROOTS: [&[u8]; 5] = [
    include_bytes!("amazon-roots/amazon-root-ca-1.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-2.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-3.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-4.pem"),
    include_bytes!("amazon-roots/starfield-services-root-g2.pem"),
];

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// The longest wait before the one retry, of which a random part is waited. It must fit the budget.
const BACKOFF: Duration = Duration::from_millis(50);

/// Why SQS did not do what it was asked for, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There are no credentials to sign with.
    #[error("the environment has no AWS credentials or no region")]
    NoCredentials,
    /// The queue's URL, or the endpoint's, is none.
    #[error("{0:?} is not the URL of a queue")]
    Url(String),
    /// The request could not be put together.
    #[error("making the request")]
    Request(#[source] http::Error),
    /// SQS could not be reached, or the connection broke.
    #[error("calling SQS")]
    Connection(#[source] legacy::Error),
    /// The answer broke off.
    #[error("reading SQS's answer")]
    Answer(#[source] hyper::Error),
    /// SQS answered with an error.
    #[error("SQS answered {status} {code}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// SQS's name of the error, such as `QueueDoesNotExist`; empty when there is none.
        code: String,
    },
    /// SQS answered 200 with something else than an answer.
    #[error("reading SQS's answer as JSON")]
    Unreadable(#[source] serde_json::Error),
}

impl CallError {
    /// Whether the same call may succeed a moment later: after a broken connection, which a function that was frozen
    /// finds its own to be, after a failure of SQS's, and when it is asked too often.
    fn may_pass(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Answer(_) => true,
            Self::Refused { status, code } => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || code.contains("Throttl")
            }
            Self::NoCredentials | Self::Url(_) | Self::Request(_) | Self::Unreadable(_) => false,
        }
    }
}

/// What SQS answers with when it does not do what it was asked for.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type", default)]
    code: String,
}

/// Speaks to SQS.
#[derive(Debug)]
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// In place of where the queues' own URLs point.
    endpoint: Option<String>,
    signer: Option<Signer>,
}

impl Client {
    /// Prepares a client; the first call opens the connection.
    ///
    /// What Lambda sets for every function is read here: the region, the credentials of its role, which it renews with the
    /// process, and, on one machine, `AWS_ENDPOINT_URL_SQS`. Without credentials every call fails, and says so.
    pub fn new() -> Self {
        Self::with(process("AWS_ENDPOINT_URL_SQS"), signer())
    }

    fn with(endpoint: Option<String>, signer: Option<Signer>) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self { http: legacy::Client::builder(TokioExecutor::new()).build(https), endpoint, signer }
    }

    /// Asks SQS for `operation`, and once more if it failed in a way that may pass.
    ///
    /// # Errors
    ///
    /// [`CallError`]: SQS may have done it all the same.
    pub async fn call<A: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        queue_url: &str,
        body: Bytes,
    ) -> Result<A, CallError> {
        let answer = match self.try_call(operation, queue_url, body.clone()).await {
            Err(error) if error.may_pass() => {
                tokio::time::sleep(BACKOFF.mul_f64(clock::random_fraction())).await;
                self.try_call(operation, queue_url, body).await?
            }
            outcome => outcome?,
        };
        serde_json::from_slice(&answer).map_err(CallError::Unreadable)
    }

    async fn try_call(
        &self,
        operation: &'static str,
        queue_url: &str,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        let request = self.request(operation, queue_url, body)?;
        let answer = self.http.request(request).await.map_err(CallError::Connection)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(CallError::Answer)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let refusal = serde_json::from_slice::<Refusal>(&body).unwrap_or(Refusal { code: String::new() });
        // The name may have a namespace before it, `com.amazonaws.sqs#`.
        let code = refusal.code.rsplit('#').next().unwrap_or_default().to_owned();
        Err(CallError::Refused { status, code })
    }

    fn request(
        &self,
        operation: &'static str,
        queue_url: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let signer = self.signer.as_ref().ok_or(CallError::NoCredentials)?;
        let (scheme, authority) = origin(self.endpoint.as_deref().unwrap_or(queue_url))?;
        let headers = Headers {
            content_type: CONTENT_TYPE,
            host: host(&scheme, &authority),
            target: &format!("AmazonSQS.{operation}"),
        };
        let signature = signer.sign(clock::now(), &headers, &body);
        let url = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query("/").build();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.map_err(CallError::Request)?)
            .header(header::CONTENT_TYPE, headers.content_type)
            .header(header::HOST, headers.host)
            .header("x-amz-target", headers.target)
            .header("x-amz-date", signature.date)
            .header(header::AUTHORIZATION, signature.authorization);
        if let Some(token) = signer.session_token() {
            request = request.header("x-amz-security-token", token);
        }
        // By it AWS draws a trace through the queue, and notices functions that wake each other without an end.
        let trace = process("_X_AMZN_TRACE_ID").and_then(|trace| HeaderValue::try_from(trace).ok());
        if let Some(trace) = trace {
            request = request.header("x-amzn-trace-id", trace);
        }
        request.body(Full::new(body)).map_err(CallError::Request)
    }
}

/// Returns where a queue is; its path is no part of where calls go, they name the queue in their bodies.
fn origin(url: &str) -> Result<(Scheme, Authority), CallError> {
    let parts = url.parse::<Uri>().map(Uri::into_parts).ok();
    parts.and_then(|parts| parts.scheme.zip(parts.authority)).ok_or_else(|| CallError::Url(url.to_owned()))
}

/// Returns the header `Host` as it must be signed: with the port unless it is the scheme's own.
fn host<'a>(scheme: &Scheme, authority: &'a Authority) -> &'a str {
    let standard = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    if authority.port_u16() == Some(standard) { authority.host() } else { authority.as_str() }
}

fn signer() -> Option<Signer> {
    Some(Signer::new(Credentials {
        key_id: process("AWS_ACCESS_KEY_ID")?,
        secret: Secret::new(process("AWS_SECRET_ACCESS_KEY")?),
        session_token: process("AWS_SESSION_TOKEN"),
        region: process("AWS_REGION")?,
    }))
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(AMAZON_ROOTS.iter().flat_map(|pem| CertificateDer::from_pem_slice(pem)));
    roots
}

fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[expect(clippy::expect_used, reason = "rustls knows its own provider")]
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of every version of TLS that rustls speaks");
    builder.with_root_certificates(roots()).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use wiremock::matchers::{body_json, header, header_exists, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const TAKEN: &str = r#"{"MessageId":"m-1"}"#;

    fn client(endpoint: Option<String>) -> Client {
        let credentials = Credentials {
            key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: Some("a-session".to_owned()),
            region: "us-east-1".to_owned(),
        };
        Client::with(endpoint, Some(Signer::new(credentials)))
    }

    async fn send(client: &Client, queue_url: &str) -> Result<Value, CallError> {
        client.call("SendMessage", queue_url, Bytes::from_static(br#"{"QueueUrl":"q"}"#)).await
    }

    async fn answering(answers: &[(u16, &str)]) -> MockServer {
        let server = MockServer::start().await;
        for (status, body) in answers {
            let answer = ResponseTemplate::new(*status).set_body_string(*body);
            Mock::given(method("POST")).respond_with(answer).up_to_n_times(1).mount(&server).await;
        }
        server
    }

    #[tokio::test]
    async fn a_call_is_a_signed_post_to_where_the_queue_is() {
        let server = MockServer::start().await;
        let host = server.address().to_string();
        Mock::given(method("POST"))
            .and(path("/"))
            .and(header("content-type", "application/x-amz-json-1.0"))
            .and(header("x-amz-target", "AmazonSQS.SendMessage"))
            .and(header("x-amz-security-token", "a-session"))
            .and(header("host", &*host))
            .and(header_exists("x-amz-date"))
            .and(header_exists("authorization"))
            .and(body_json(json!({"QueueUrl": "q"})))
            .respond_with(ResponseTemplate::new(200).set_body_string(TAKEN))
            .expect(2)
            .mount(&server)
            .await;
        let queue_url = format!("{}/000000000000/inbound", server.uri());
        assert_eq!(send(&client(None), &queue_url).await.unwrap()["MessageId"], "m-1");
        let elsewhere = "https://sqs.us-east-1.amazonaws.com/000000000000/inbound";
        assert_eq!(send(&client(Some(server.uri())), elsewhere).await.unwrap()["MessageId"], "m-1");
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_once_more_and_nothing_else() {
        let throttled = r#"{"__type":"com.amazonaws.sqs#RequestThrottled"}"#;
        let no_queue = r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"no"}"#;
        for (first, calls, outcome) in [
            ((200, TAKEN), 1, "taken"),
            ((500, ""), 2, "taken"),
            ((503, "<html>"), 2, "taken"),
            ((429, ""), 2, "taken"),
            ((400, throttled), 2, "taken"),
            ((400, no_queue), 1, "SQS answered 400 Bad Request QueueDoesNotExist"),
            ((403, "{}"), 1, "SQS answered 403 Forbidden "),
            ((200, "<html>"), 1, "reading SQS's answer as JSON"),
        ] {
            let server = answering(&[first, (200, TAKEN)]).await;
            let answer = send(&client(None), &server.uri()).await;
            assert_eq!(answer.map_or_else(|error| error.to_string(), |_| "taken".to_owned()), outcome);
            assert_eq!(server.received_requests().await.unwrap().len(), calls, "{first:?}");
        }
        let server = answering(&[(500, ""), (500, ""), (200, TAKEN)]).await;
        let error = send(&client(None), &server.uri()).await.unwrap_err();
        assert_eq!(error.to_string(), "SQS answered 500 Internal Server Error ");
    }

    #[tokio::test]
    async fn a_connection_that_died_meanwhile_is_replaced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TAKEN}", TAKEN.len());
            for is_first in [true, false] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 8192];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
                if is_first {
                    // The next request is read and never answered.
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                }
            }
        });
        let client = client(None);
        for _ in 0..2 {
            assert_eq!(send(&client, &url).await.unwrap()["MessageId"], "m-1");
        }
        server.await.unwrap();
    }

    #[tokio::test]
    async fn what_can_not_be_asked_says_why() {
        let without = Client::with(None, None);
        assert!(matches!(send(&without, "http://127.0.0.1:9/q").await, Err(CallError::NoCredentials)));
        assert!(matches!(send(&client(None), "inbound").await, Err(CallError::Url(_))));
        assert!(matches!(send(&client(None), "http://127.0.0.1:9/q").await, Err(CallError::Connection(_))));
    }

    #[test]
    fn every_one_of_amazons_roots_is_trusted() {
        assert_eq!(roots().len(), AMAZON_ROOTS.len());
    }

    #[test]
    fn the_host_is_signed_as_it_is_sent() {
        for (url, signed) in [
            ("https://sqs.eu-central-1.amazonaws.com/1/q", "sqs.eu-central-1.amazonaws.com"),
            ("https://sqs.eu-central-1.amazonaws.com:443/1/q", "sqs.eu-central-1.amazonaws.com"),
            ("http://127.0.0.1:9324/1/q", "127.0.0.1:9324"),
            ("http://localhost:80", "localhost"),
        ] {
            let (scheme, authority) = origin(url).unwrap();
            assert_eq!(host(&scheme, &authority), signed, "{url}");
        }
    }
}
