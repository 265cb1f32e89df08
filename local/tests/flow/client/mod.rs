//! Operations of tests on a stack: HTTP requests, the API, Twilio and its handsets, and the database and queues.

mod api;
mod internals;
mod twilio;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

pub use self::internals::{INBOUND_OF, Sql};
pub use self::twilio::{SMS_PATH, STATUS_PATH};

/// The HTTP client of all tests. It keeps no idle connections, because each test has its own Tokio runtime.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
    builder.timeout(crate::stack::DEADLINE).build().unwrap()
});

/// Returns a number that no other test uses.
pub fn fresh_handset() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("+1202{}", 5_550_200 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns a message SID that no other test uses.
pub fn fresh_sid() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
    let unique = uuid::Uuid::new_v4();
    format!("SM{}", unique.simple())
}

/// An HTTP response.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub request_id: Option<String>,
    pub text: String,
}

impl HttpResponse {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns the code of the error envelope.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request and returns its response.
pub async fn send_request(request: reqwest::RequestBuilder) -> HttpResponse {
    try_send_request(request).await.unwrap()
}

/// Sends a request to a server that may be unavailable.
pub async fn try_send_request(request: reqwest::RequestBuilder) -> reqwest::Result<HttpResponse> {
    let response = request.send().await?;
    let request_id = response.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
    Ok(HttpResponse { status: response.status().as_u16(), request_id, text: response.text().await? })
}

/// Starts a request to any URL.
pub fn request(method: &str, url: &str) -> reqwest::RequestBuilder {
    HTTP.request(method.parse().unwrap(), url)
}
