//! A subscriber's HTTP server that records what it receives and gives the responses that a test sets.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A received request.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, unchanged.
    pub body: String,
}

impl Received {
    /// Returns a header, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the server responds.
#[derive(Debug, Clone)]
enum Reply {
    /// 200, with the challenge of a verification request.
    Echo,
    Fixed(StatusCode, HeaderMap, String),
    Hang,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    received: Mutex<Vec<Received>>,
}

/// A running server on a loopback address.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Starts a server that accepts everything and returns challenges.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { reply: Mutex::new(Reply::Echo), received: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(respond).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port, shared }
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a URL of the server.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns challenges and accepts everything from now on.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    pub fn accept(&self) {
        *self.shared.reply.lock().unwrap() = Reply::Echo;
    }

    /// Responds with this from now on.
    ///
    /// # Panics
    ///
    /// If the status or a header is invalid.
    pub fn reply(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers.iter().map(header).collect());
        *self.shared.reply.lock().unwrap() = Reply::Fixed(status, headers, body.to_owned());
    }

    /// Does not respond from now on.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    pub fn hang(&self) {
        *self.shared.reply.lock().unwrap() = Reply::Hang;
    }

    /// Returns the requests received so far.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }
}

async fn respond(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    let challenge = serde_json::from_str::<Value>(&body).ok().map(|body| body["data"]["challenge"].clone());
    shared.received.lock().unwrap().push(Received { uri, headers, body });
    let reply = shared.reply.lock().unwrap().clone();
    match reply {
        Reply::Echo => json!({ "challenge": challenge }).to_string().into_response(),
        Reply::Fixed(status, headers, body) => (status, headers, body).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}
