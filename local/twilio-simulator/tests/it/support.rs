//! A simulator per test with a client, and a webhook server for its requests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Router, body};
use serde_json::Value;
use twilio_simulator::{Delays, Simulator, SimulatorConfig};

pub const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub const TOKEN: &str = "a token";
pub const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";
pub const NUMBER: &str = "+12035550100";
pub const HANDSET: &str = "+12035551234";

/// The deadline of every wait, long enough for a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// An account with one phone number and short delays.
pub fn config(webhook: &str) -> SimulatorConfig {
    let step = Duration::from_millis(5);
    let mut config = SimulatorConfig::new(ACCOUNT, TOKEN).with_number(NUMBER, webhook);
    config.delays = Delays { queued: step, sent: step, delivered: step };
    config
}

/// A simulator and a client for it.
pub struct World {
    pub simulator: Simulator,
    pub client: reqwest::Client,
}

impl World {
    pub async fn start(config: SimulatorConfig) -> Self {
        let simulator = Simulator::start(config).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap();
        Self { simulator, client }
    }

    pub fn messages(&self) -> String {
        format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", self.simulator.url())
    }

    /// Sends a create request. `form` overrides the default sender, recipient and body.
    pub async fn create(&self, form: &[(&str, &str)]) -> reqwest::Result<reqwest::Response> {
        let mut form = form.to_vec();
        for (key, value) in [("From", NUMBER), ("To", HANDSET), ("Body", "hello")] {
            if !form.iter().any(|(name, _)| *name == key || (key == "From" && *name == "MessagingServiceSid"))
            {
                form.push((key, value));
            }
        }
        form.retain(|(_, value)| *value != ABSENT);
        self.client.post(self.messages()).basic_auth(ACCOUNT, Some(TOKEN)).form(&form).send().await
    }

    /// Sends a create request and returns status and body.
    pub async fn created(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let response = self.create(form).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Sends a GET request with the account's credentials.
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.simulator.url());
        self.client.get(url).basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap().json().await.unwrap()
    }

    pub async fn post_json(&self, path: &str, json: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.simulator.url());
        let response = self.client.post(url).json(&json).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// Arms a fault.
    pub async fn fault(&self, json: Value) {
        assert_eq!(self.post_json("/simulator/faults", json).await.0, 201);
    }

    /// Sends a text from a handset and returns the result.
    pub async fn text(&self, handset: &str, body: &str) -> Value {
        let path = format!("/simulator/handsets/{handset}/messages");
        let (status, response) = self.post_json(&path, serde_json::json!({ "body": body })).await;
        assert_eq!(status, 200, "{response}");
        response
    }

    /// Returns the bodies that a handset received.
    pub async fn received(&self, handset: &str) -> Vec<String> {
        let ledger = self.get(&format!("/simulator/ledger?to={}", handset.replace('+', "%2B"))).await;
        ledger.as_array().unwrap().iter().map(|entry| entry["body"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn status_of(&self, sid: &str) -> String {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json");
        self.get(&path).await["status"].as_str().unwrap_or("none").to_owned()
    }

    /// Waits until a message has this status.
    pub async fn reaches(&self, sid: &str, status: &str) {
        eventually(status, async || self.status_of(sid).await == status).await;
    }
}

/// In a form for [`World::create`]: omit this parameter.
pub const ABSENT: &str = "\0absent";

/// Waits for a condition and fails the test after the deadline.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "timeout: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A request to the webhook server.
#[derive(Debug, Clone)]
pub struct Hit {
    pub path: String,
    pub headers: http::HeaderMap,
    pub form: Vec<(String, String)>,
}

impl Hit {
    pub fn get(&self, key: &str) -> &str {
        self.form.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }
}

type Respond = dyn Fn(&Hit, usize) -> Response + Send + Sync;

struct Inner {
    hits: Mutex<Vec<Hit>>,
    respond: Box<Respond>,
}

/// A webhook server that records requests.
#[derive(Clone)]
pub struct WebhookServer {
    pub url: String,
    inner: Arc<Inner>,
}

impl WebhookServer {
    /// Responds 200 to every request.
    pub async fn start() -> Self {
        Self::responding(|_, _| ().into_response()).await
    }

    /// Responds with the result of `respond`, which gets the request and the number of earlier requests.
    pub async fn responding(respond: impl Fn(&Hit, usize) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner { hits: Mutex::default(), respond: Box::new(respond) });
        let router = Router::new().fallback(hit).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    pub fn hits(&self) -> Vec<Hit> {
        self.inner.hits.lock().unwrap().clone()
    }

    /// Waits for `count` requests.
    pub async fn wait(&self, count: usize) -> Vec<Hit> {
        eventually(&format!("{count} requests"), async || self.hits().len() >= count).await;
        self.hits()
    }

    /// Waits for `count` requests and returns the values of one parameter, in order of arrival.
    pub async fn wait_for(&self, key: &str, count: usize) -> Vec<String> {
        self.wait(count).await.iter().map(|hit| hit.get(key).to_owned()).collect()
    }
}

async fn hit(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, content) = request.into_parts();
    let bytes = body::to_bytes(content, 1 << 20).await.unwrap();
    let hit = Hit {
        path: parts.uri.to_string(),
        headers: parts.headers,
        form: form_urlencoded::parse(&bytes).into_owned().collect(),
    };
    let before = {
        let mut hits = inner.hits.lock().unwrap();
        hits.push(hit.clone());
        hits.len() - 1
    };
    (inner.respond)(&hit, before)
}
