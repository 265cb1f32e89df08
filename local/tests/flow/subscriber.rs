//! A receiver of events: an HTTP server that answers as a test wants, and a ledger of what it got.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::client::send_request;
use crate::stack::{Stack, eventually};

/// How a receiver answers an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Accept,
    /// 200 after some time.
    AcceptAfter(Duration),
    /// Another status, without a body.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    RetryAfter(u64),
    /// Accepts the request and stays silent.
    Hang,
    /// 200 and two bytes per second.
    Drip,
    /// 200 and a body without end.
    Endless,
}

/// Chooses the answer to an event and its attempt: 1, 2, 3 …
pub type Behaviour = Box<dyn Fn(&Value, usize) -> Answer + Send>;

/// A request with an event.
#[derive(Debug, Clone)]
pub struct Received {
    pub id: String,
    pub body: String,
    /// Whether the receiver has accepted it.
    pub is_accepted: bool,
    /// Whether each of the receiver's secrets verifies one of the signatures.
    pub is_signed: bool,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

struct Ledger {
    refuses_challenges: bool,
    secrets: Vec<String>,
    received: Vec<Received>,
    behaviour: Behaviour,
}

/// A receiver. Dropping it closes its port.
pub struct Receiver {
    pub url: String,
    ledger: Arc<Mutex<Ledger>>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts a receiver that accepts everything.
    pub async fn start() -> Self {
        Self::with(|_, _| Answer::Accept).await
    }

    /// Starts a receiver. It always answers the challenge of its registration.
    pub async fn with(behaviour: impl Fn(&Value, usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let ledger = Ledger {
            refuses_challenges: false,
            secrets: Vec::new(),
            received: Vec::new(),
            behaviour: Box::new(behaviour),
        };
        let ledger = Arc::new(Mutex::new(ledger));
        let router = Router::new().fallback(receive).with_state(ledger.clone());
        let server = tokio::spawn(async move {
            // The server ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Self { url, ledger, server }
    }

    /// Answers challenges with 200 and another body.
    pub fn refuse_challenges(&self) {
        self.ledger.lock().unwrap().refuses_challenges = true;
    }

    /// Changes the answers.
    pub fn behave(&self, behaviour: impl Fn(&Value, usize) -> Answer + Send + 'static) {
        self.ledger.lock().unwrap().behaviour = Box::new(behaviour);
    }

    /// Sets the secrets, each of which must verify every later request.
    pub fn expect_secrets(&self, secrets: &[&str]) {
        self.ledger.lock().unwrap().secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    }

    /// Returns all requests with events, in the order of their arrival.
    pub fn received(&self) -> Vec<Received> {
        self.ledger.lock().unwrap().received.clone()
    }

    /// Returns the accepted events of each conversation, each in the order of its first acceptance.
    pub fn accepted(&self) -> BTreeMap<String, Vec<i64>> {
        let mut accepted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for received in self.received().into_iter().filter(|received| received.is_accepted) {
            let event = received.json();
            let Some(conversation) = event["conversation_id"].as_str() else { continue };
            let sequence = event["conversation_sequence"].as_i64().unwrap();
            let sequences = accepted.entry(conversation.to_owned()).or_default();
            if !sequences.contains(&sequence) {
                sequences.push(sequence);
            }
        }
        accepted
    }

    /// Returns how often each event was received.
    pub fn attempts(&self) -> HashMap<String, usize> {
        let mut attempts = HashMap::new();
        for received in self.received() {
            *attempts.entry(received.id).or_default() += 1;
        }
        attempts
    }

    /// Waits until exactly these events were accepted, each with its text in the log and with a valid signature.
    pub async fn wait_for(&self, events: &[LoggedEvent]) {
        let missing = || {
            let received = self.received();
            let accepted: Vec<&str> =
                received.iter().filter(|got| got.is_accepted).map(|got| got.id.as_str()).collect();
            events.iter().filter(|event| !accepted.contains(&event.id.as_str())).count()
        };
        eventually(&format!("{} has {} events", self.url, events.len()), async || {
            (missing() == 0).then_some(())
        })
        .await;
        let problems = self.problems(events);
        assert!(problems.is_empty(), "{problems}");
    }

    /// Returns what is wrong with the requests so far.
    pub fn problems(&self, events: &[LoggedEvent]) -> String {
        let logged: HashMap<&str, &str> =
            events.iter().map(|event| (event.id.as_str(), event.body.as_str())).collect();
        let mut problems = String::new();
        for received in self.received() {
            if !received.is_signed {
                let _ = writeln!(problems, "no valid signature: {received:?}");
            }
            if logged.get(received.id.as_str()) != Some(&received.body.as_str()) {
                let _ = writeln!(problems, "not an event of the log: {received:?}");
            }
        }
        problems
    }
}

/// Checks the receivers' ledgers: every event of the log reached every receiver, unchanged and signed. Each
/// conversation is complete and in order. Returns the number of requests.
pub async fn check_ledgers(receivers: &[Receiver], events: &[LoggedEvent]) -> usize {
    let mut sequences: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for event in events.iter().map(LoggedEvent::json) {
        if let Some(conversation) = event["conversation_id"].as_str() {
            let sequence = event["conversation_sequence"].as_i64().unwrap();
            sequences.entry(conversation.to_owned()).or_default().push(sequence);
        }
    }
    for (conversation, sequences) in &sequences {
        let complete: Vec<i64> = (1..).take(sequences.len()).collect();
        assert_eq!(*sequences, complete, "the log of {conversation}");
    }
    for receiver in receivers {
        receiver.wait_for(events).await;
        assert_eq!(receiver.accepted(), sequences, "the order at {}", receiver.url);
    }
    receivers.iter().map(|receiver| receiver.received().len()).sum()
}

async fn receive(State(ledger): State<Arc<Mutex<Ledger>>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let event: Value = serde_json::from_str(&body).unwrap();
    if event["type"] == "subscription.verification" {
        let challenge = &event["data"]["challenge"];
        let is_refused = ledger.lock().unwrap().refuses_challenges;
        let answer = if is_refused { json!({}) } else { json!({ "challenge": challenge }) };
        return axum::Json(answer).into_response();
    }
    if event["type"] == "subscription.test" {
        return StatusCode::NO_CONTENT.into_response();
    }
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let answer = {
        let mut ledger = ledger.lock().unwrap();
        let attempt = 1 + ledger.received.iter().filter(|received| received.id == id).count();
        let answer = (ledger.behaviour)(&event, attempt);
        // The status counts, whatever the body does.
        let is_accepted =
            matches!(answer, Answer::Accept | Answer::AcceptAfter(_) | Answer::Drip | Answer::Endless);
        let is_signed = !ledger.secrets.is_empty()
            && ledger.secrets.iter().all(|secret| {
                Webhook::new(secret).unwrap().verify(body.as_bytes(), &signature_headers(&headers)).is_ok()
            });
        ledger.received.push(Received { id, body, is_accepted, is_signed });
        answer
    };
    match answer {
        Answer::Accept => StatusCode::OK.into_response(),
        Answer::AcceptAfter(time) => {
            tokio::time::sleep(time).await;
            StatusCode::OK.into_response()
        }
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::RetryAfter(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
        Answer::Hang => std::future::pending().await,
        Answer::Drip => Body::from_stream(stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>("ok"), ()))
        }))
        .into_response(),
        Answer::Endless => {
            let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
            Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()))).into_response()
        }
    }
}

/// Copies the headers, because the library has its own version of the type.
fn signature_headers(headers: &HeaderMap) -> HeaderMap {
    ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .filter_map(|name| Some((HeaderName::from_static(name), headers.get(name)?.clone())))
        .collect()
}

/// An event of the log.
#[derive(Debug, Clone)]
pub struct LoggedEvent {
    pub id: String,
    pub body: String,
}

impl LoggedEvent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Stack {
    /// Registers a receiver for events of all conversations, with other fields of the request, and returns the
    /// subscription.
    pub async fn subscribe(&self, receiver: &Receiver, fields: &Value) -> Value {
        let mut request = json!({ "url": receiver.url, "event_types": [], "include_unknown": true });
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let response = self.response("POST", "/subscriptions", Some(&request)).await;
        assert_eq!(response.status, 201, "{response:?}");
        let subscription = response.json();
        receiver.expect_secrets(&[subscription["secret"].as_str().unwrap()]);
        subscription
    }

    /// Returns all events of the log, with their exact text.
    pub async fn events(&self) -> Vec<LoggedEvent> {
        #[derive(Deserialize)]
        struct Page {
            events: Vec<Box<RawValue>>,
            next_cursor: String,
            has_more: bool,
        }
        let mut events = Vec::new();
        let mut path = "/events?limit=1000".to_owned();
        loop {
            let response = self.response_to(|| self.api_request("GET", &path)).await;
            let page: Page = serde_json::from_str(&response.text).unwrap();
            events.extend(page.events.iter().map(|body| {
                let event: Value = serde_json::from_str(body.get()).unwrap();
                LoggedEvent { id: event["id"].as_str().unwrap().to_owned(), body: body.get().to_owned() }
            }));
            if !page.has_more {
                return events;
            }
            path = format!("/events?limit=1000&after={}", page.next_cursor);
        }
    }

    /// Returns a subscription from the API.
    pub async fn subscription(&self, id: &str) -> Value {
        let response = self.response("GET", &format!("/subscriptions/{id}"), None).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Posts to an operation of a subscription.
    pub async fn post_to_subscription(&self, id: &str, operation: &str, body: &Value, status: u16) -> Value {
        let request = self.api_request("POST", &format!("/subscriptions/{id}/{operation}"));
        let response = send_request(request.json(body)).await;
        assert_eq!(response.status, status, "{response:?}");
        if response.text.is_empty() { Value::Null } else { response.json() }
    }
}
