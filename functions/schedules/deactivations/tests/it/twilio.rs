//! Twilio's messaging API, and the storage service to which it redirects.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt, stream};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

/// How many lines a chunk of a long list has.
const CHUNK: usize = 4_000;

/// What the storage service responds.
#[derive(Debug, Clone)]
pub enum File {
    Text(String),
    /// A number of lines that are generated while they are sent.
    Lines(usize),
    /// These lines. Then the connection breaks off.
    BreaksOff(String),
    /// These lines. Then nothing more comes.
    Hangs(String),
    Status(StatusCode),
}

#[derive(Debug, Default)]
struct Shared {
    /// The lists by day.
    files: Mutex<HashMap<String, File>>,
    /// Another address for redirects.
    location: Mutex<Option<String>>,
    /// The status of the API instead of a redirect.
    status: Mutex<Option<StatusCode>>,
    /// The days for which the API was asked, each with the `Authorization` of the request.
    asked: Mutex<Vec<(String, String)>>,
    /// The headers of the requests for files.
    file_requests: Mutex<Vec<HeaderMap>>,
}

/// A running server for both.
#[derive(Debug)]
pub struct Twilio {
    pub url: String,
    shared: Arc<Shared>,
}

impl Twilio {
    pub async fn start() -> Self {
        let shared: Arc<Shared> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/Deactivations", get(redirect))
            .route("/bucket/{day}", get(file))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub fn list(&self, day: &str, file: File) {
        self.shared.files.lock().unwrap().insert(day.to_owned(), file);
    }

    /// Redirects all further requests to another address.
    pub fn redirect_to(&self, location: &str) {
        *self.shared.location.lock().unwrap() = Some(location.to_owned());
    }

    /// Responds to further requests with this status, or again with redirects.
    pub fn respond_with(&self, status: Option<StatusCode>) {
        *self.shared.status.lock().unwrap() = status;
    }

    /// Returns the days for which the API was asked so far, and forgets them.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap()).into_iter().map(|(day, _)| day).collect()
    }

    /// Returns the credentials of all requests to the API.
    pub fn credentials(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().iter().map(|(_, credentials)| credentials.clone()).collect()
    }

    /// Returns the headers of the requests for files.
    pub fn file_requests(&self) -> Vec<HeaderMap> {
        self.shared.file_requests.lock().unwrap().clone()
    }
}

async fn redirect(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let day = query.get("Date").cloned().unwrap_or_default();
    let text = |name: HeaderName| {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    shared.asked.lock().unwrap().push((day.clone(), text(header::AUTHORIZATION)));
    if let Some(status) = *shared.status.lock().unwrap() {
        return status.into_response();
    }
    if !shared.files.lock().unwrap().contains_key(&day) {
        let body = r#"{"code":20404,"message":"not found","status":404}"#;
        return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let own = format!("http://{}/bucket/{day}?X-Amz-Signature=secret", text(header::HOST));
    let location = shared.location.lock().unwrap().clone().unwrap_or(own);
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}

async fn file(State(shared): State<Arc<Shared>>, Path(day): Path<String>, headers: HeaderMap) -> Response {
    shared.file_requests.lock().unwrap().push(headers);
    let file = shared.files.lock().unwrap().get(&day).cloned();
    let sent = |text: String| Ok::<_, io::Error>(Bytes::from(text));
    match file {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(File::Status(status)) => status.into_response(),
        Some(File::Text(text)) => text.into_response(),
        Some(File::Lines(count)) => {
            let chunks = (0..count.div_ceil(CHUNK)).map(move |chunk| sent(lines(chunk * CHUNK, count)));
            Body::from_stream(stream::iter(chunks)).into_response()
        }
        Some(File::BreaksOff(text)) => {
            let broken = Err(io::Error::other("the connection breaks off"));
            Body::from_stream(stream::iter([sent(text), broken])).into_response()
        }
        Some(File::Hangs(text)) => {
            let begun = stream::iter([sent(text)]);
            Body::from_stream(begun.chain(stream::pending())).into_response()
        }
    }
}

/// Returns the lines from a first one to the end of its chunk: `+12000000000`, `+12000000001`, …
fn lines(first: usize, count: usize) -> String {
    (first..count.min(first + CHUNK)).map(|n| format!("+1{}\n", 2_000_000_000 + n)).collect()
}
