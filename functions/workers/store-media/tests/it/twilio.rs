//! Twilio's API, which wants credentials, and the storage service to which it redirects, on another port.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// `AC1:token` in Base64.
const CREDENTIALS: &str = "Basic QUMxOnRva2Vu";
const CHUNK: usize = 65_536;

/// A response of either server.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    Redirect(String),
    File(Vec<u8>),
    /// A file that is sent when the test says so.
    Held(Vec<u8>),
    /// A file without an end, without a length, of chunks that are counted.
    Endless(Vec<u8>),
    /// Only the headers of a file of this length.
    Declared(usize),
}

/// A request to either server.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
}

#[derive(Default)]
struct Server {
    wants_credentials: bool,
    /// The replies by path, each for one request; the last one for all further ones.
    replies: Mutex<HashMap<String, Vec<Reply>>>,
    received: Mutex<Vec<Received>>,
    release: Notify,
    bytes_sent: AtomicUsize,
}

/// One of the two servers.
pub struct Host {
    pub url: String,
    server: Arc<Server>,
}

impl Host {
    pub async fn start(wants_credentials: bool) -> Self {
        let server = Arc::new(Server { wants_credentials, ..Server::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(respond).with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, server }
    }

    /// Sets the replies of a path and returns its URL.
    pub fn reply(&self, path: &str, replies: &[Reply]) -> String {
        self.server.replies.lock().unwrap().insert(path.to_owned(), replies.to_vec());
        format!("{}{path}", self.url)
    }

    pub fn received(&self) -> Vec<Received> {
        self.server.received.lock().unwrap().clone()
    }

    /// Lets a held file be sent.
    pub fn release(&self) {
        self.server.release.notify_one();
    }

    /// Returns how many bytes of endless files were sent.
    pub fn bytes_sent(&self) -> usize {
        self.server.bytes_sent.load(Ordering::SeqCst)
    }
}

async fn respond(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let is_authorized = headers.get(header::AUTHORIZATION).is_some_and(|value| value == CREDENTIALS);
    let received = Received { method: request.method().clone(), path: path.clone(), headers };
    server.received.lock().unwrap().push(received);
    if server.wants_credentials && !is_authorized {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let reply = {
        let mut replies = server.replies.lock().unwrap();
        match replies.get_mut(&path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
            None => Reply::Status(404),
        }
    };
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Redirect(location) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
        Reply::File(bytes) => bytes.into_response(),
        Reply::Held(bytes) => {
            server.release.notified().await;
            bytes.into_response()
        }
        Reply::Endless(start) => {
            let chunks = stream::repeat_with(move || {
                server.bytes_sent.fetch_add(CHUNK, Ordering::SeqCst);
                Ok::<_, io::Error>(Bytes::from(vec![0; CHUNK]))
            });
            Body::from_stream(stream::iter([Ok(Bytes::from(start))]).chain(chunks)).into_response()
        }
        Reply::Declared(length) => {
            let nothing = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
            ([(header::CONTENT_LENGTH, length.to_string())], nothing).into_response()
        }
    }
}
