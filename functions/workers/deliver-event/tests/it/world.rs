//! A database with subscriptions, a receiver that behaves as a test says, queues, and the function.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testing::{Database, Function, Sqs, batch, failed};

const BINARY: &str = env!("CARGO_BIN_EXE_deliver-event");

/// A request to the receiver.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn sequence(&self) -> i64 {
        self.event()["conversation_sequence"].as_i64().unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A response of the receiver.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub after: Duration,
    pub header: Option<(&'static str, &'static str)>,
}

pub fn status(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

pub fn after_ms(ms: u64) -> Reply {
    Reply { status: 200, after: Duration::from_millis(ms), ..Reply::default() }
}

type Behaviour = Box<dyn Fn(&Received) -> Reply + Send>;

struct Shared {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Vec<Received>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A subscriber's HTTP server.
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

impl Receiver {
    async fn start() -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Box::new(|_| status(200))),
            received: Mutex::default(),
            now: AtomicUsize::default(),
            most: AtomicUsize::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let app = Router::new().route("/events", post(receive)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    pub fn behave(&self, behaviour: impl Fn(&Received) -> Reply + Send + 'static) {
        *self.shared.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The sequences of the received events, in the order of arrival.
    pub fn sequences(&self) -> Vec<i64> {
        self.received().iter().map(Received::sequence).collect()
    }

    /// The most requests at a time.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> impl IntoResponse {
    let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(now, Ordering::SeqCst);
    let received = Received { headers, body };
    let reply = (shared.behaviour.lock().unwrap())(&received);
    shared.received.lock().unwrap().push(received);
    tokio::time::sleep(reply.after).await;
    shared.now.fetch_sub(1, Ordering::SeqCst);
    let headers = reply.header.map(|(name, value)| (HeaderName::from_static(name), value));
    let headers: HeaderMap =
        headers.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
    (StatusCode::from_u16(reply.status).unwrap(), headers, "the response")
}

pub struct World {
    pub database: Database,
    pub receiver: Receiver,
    pub sqs: Sqs,
    /// Two conversations.
    pub ids: Vec<String>,
}

impl World {
    pub async fn start() -> Self {
        let database = Database::create().await;
        let ids = database.conversations(2).await;
        Self { database, receiver: Receiver::start().await, sqs: Sqs::start().await, ids }
    }

    /// Creates a subscription of the receiver.
    pub async fn subscribe(&self, change: &str) -> String {
        self.database.subscribe(&self.receiver.url, change).await
    }

    /// Writes events of the conversations with these indexes, in this order.
    pub async fn write(&self, conversations: &[usize]) {
        for &index in conversations {
            self.database.write_events(&[&self.ids[index]]).await;
        }
    }

    pub async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    /// Starts the function with changed or additional environment variables. Slow tests are not slow receivers.
    pub async fn function_with(&self, changes: &[(&str, &str)]) -> Function {
        let (database, events, slow) =
            (self.database.url(), self.sqs.queue("events"), self.sqs.queue("slow-events"));
        let mut variables = vec![
            ("DATABASE_URL", database.as_str()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
            ("EVENTS_QUEUE_URL", &events),
            ("SLOW_EVENTS_QUEUE_URL", &slow),
            ("SUBSCRIBERS_ALLOW_LOOPBACK", "true"),
            ("EVENTS_FAST_TIMEOUT_MS", "60000"),
            ("EVENTS_ATTEMPT_TIMEOUT_MS", "60000"),
            ("EVENTS_RUN_BUDGET_MS", "20000"),
        ];
        variables.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// The messages on a queue, with their delays.
    pub fn queued(&self, name: &str) -> Vec<(Value, u64)> {
        let url = self.sqs.queue(name);
        let sent = self.sqs.sent().into_iter().filter(|sent| sent.queue_url == url);
        sent.map(|sent| (sent.body, sent.delay_seconds)).collect()
    }

    pub async fn undelivered(&self) -> String {
        self.database.scalar("select count(*) from sms_deliveries").await
    }
}

/// The hint that events were written.
pub fn written() -> Value {
    json!({"version": "1"})
}

/// The hint for a live stream.
pub fn hint(subscription_id: &str) -> Value {
    json!({"version": "2", "subscription_id": subscription_id, "kind": "live"})
}

pub async fn succeeds(function: &mut Function, bodies: &[Value]) {
    let response = function.call(batch(bodies)).await;
    assert_eq!(failed(&response), [""; 0], "{:#?}", function.log().await);
}
