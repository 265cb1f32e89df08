//! An SQS server that records messages, and fails or hangs on demand.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The server's behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Accepts everything.
    Accepts,
    /// Responds 500 to every request.
    Fails,
    /// Never responds.
    Hangs,
    /// Accepts everything after a delay of a third of a second.
    Slow,
}

/// An accepted message.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The URL of its queue.
    pub queue_url: String,
    /// Its body, parsed.
    pub body: Value,
    /// Its `request_id` attribute.
    pub request_id: Option<String>,
    /// Its `traceparent` attribute.
    pub traceparent: Option<String>,
    /// Its `DelaySeconds`.
    pub delay_seconds: u64,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    refused_queues: Mutex<Vec<String>>,
    refused_text: Mutex<Option<String>>,
    sent: Mutex<Vec<Sent>>,
    requests: Mutex<Vec<Value>>,
    made_visible: Mutex<Vec<String>>,
}

/// A running server.
#[derive(Debug)]
pub struct Sqs {
    url: String,
    shared: Arc<Shared>,
}

impl Sqs {
    /// Starts a server that accepts everything.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Accepts),
            refused_queues: Mutex::default(),
            refused_text: Mutex::default(),
            sent: Mutex::default(),
            requests: Mutex::default(),
            made_visible: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/", post(respond)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// Returns the value for `AWS_ENDPOINT_URL_SQS`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL of a queue.
    #[must_use]
    pub fn queue(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.url)
    }

    /// Changes the behaviour of the server.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Responds 500 to requests for one queue from now on.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    pub fn refuse_queue(&self, name: &str) {
        let url = self.queue(name);
        self.shared.refused_queues.lock().unwrap().push(url);
    }

    /// Rejects batch entries that contain this text from now on.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    pub fn refuse_text(&self, text: &str) {
        *self.shared.refused_text.lock().unwrap() = Some(text.to_owned());
    }

    /// Returns the messages accepted so far.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// Returns all accepted `SendMessage` requests, unchanged.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns queue and receipt handle of the messages whose visibility timeout was set to 0.
    ///
    /// # Panics
    ///
    /// If another thread panicked while holding the lock.
    #[must_use]
    pub fn made_visible(&self) -> Vec<String> {
        self.shared.made_visible.lock().unwrap().clone()
    }
}

async fn respond(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let behaviour = *shared.behaviour.lock().unwrap();
    match behaviour {
        Behaviour::Accepts => {}
        Behaviour::Fails => return (StatusCode::INTERNAL_SERVER_ERROR, "").into_response(),
        Behaviour::Hangs => return std::future::pending().await,
        Behaviour::Slow => tokio::time::sleep(Duration::from_millis(333)).await,
    }
    let target =
        headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let queue_url = body["QueueUrl"].as_str().unwrap_or_default().to_owned();
    if shared.refused_queues.lock().unwrap().contains(&queue_url) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "").into_response();
    }
    // The size limit of SQS.
    if body["Entries"].to_string().len() > 1_048_576 {
        return (StatusCode::BAD_REQUEST, "").into_response();
    }
    let response = match target.as_str() {
        "AmazonSQS.SendMessage" => {
            shared.sent.lock().unwrap().push(sent(&queue_url, &body));
            shared.requests.lock().unwrap().push(body);
            json!({"MessageId": common::clock::new_id()})
        }
        "AmazonSQS.SendMessageBatch" => {
            let entries = body["Entries"].as_array().unwrap();
            let text = shared.refused_text.lock().unwrap().clone();
            let is_refused = |entry: &&Value| {
                text.as_ref().is_some_and(|text| entry["MessageBody"].as_str().unwrap().contains(text))
            };
            let (refused, accepted): (Vec<_>, Vec<_>) = entries.iter().partition(is_refused);
            shared.sent.lock().unwrap().extend(accepted.iter().map(|entry| sent(&queue_url, entry)));
            let taken = |entry: &&Value| {
                let message_id = common::clock::new_id();
                json!({"Id": entry["Id"], "MessageId": message_id, "MD5OfMessageBody": ""})
            };
            let code = "InvalidMessageContents";
            let failed = |entry: &&Value| json!({"Id": entry["Id"], "SenderFault": true, "Code": code});
            json!({
                "Successful": accepted.iter().map(taken).collect::<Vec<_>>(),
                "Failed": refused.iter().map(failed).collect::<Vec<_>>(),
            })
        }
        "AmazonSQS.ChangeMessageVisibilityBatch" => {
            let entries = body["Entries"].as_array().unwrap();
            let queue = queue_url.rsplit('/').next().unwrap_or_default();
            let at_once = entries.iter().filter(|entry| entry["VisibilityTimeout"] == 0);
            let handles =
                at_once.map(|entry| format!("{queue} {}", entry["ReceiptHandle"].as_str().unwrap()));
            shared.made_visible.lock().unwrap().extend(handles);
            let changed = |entry: &Value| json!({"Id": entry["Id"]});
            json!({"Successful": entries.iter().map(changed).collect::<Vec<_>>(), "Failed": []})
        }
        _ => json!({"Attributes": {}}),
    };
    ([("content-type", "application/x-amz-json-1.0")], response.to_string()).into_response()
}

fn sent(queue_url: &str, message: &Value) -> Sent {
    let attribute =
        |name: &str| message["MessageAttributes"][name]["StringValue"].as_str().map(str::to_owned);
    Sent {
        queue_url: queue_url.to_owned(),
        body: serde_json::from_str(message["MessageBody"].as_str().unwrap()).unwrap(),
        request_id: attribute("request_id"),
        traceparent: attribute("traceparent"),
        delay_seconds: message["DelaySeconds"].as_u64().unwrap_or_default(),
    }
}
