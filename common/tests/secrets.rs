//! Secrets from a Secrets Manager that is played by a mock server, before and after a rotation.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db};
use common::http::{self, ApiError, Request, Response, StatusCode};
use common::secrets::Secrets;
use common::service::receive::{Receiver, ReceiverConfig};
use common::twilio::{TwilioClient, TwilioConfig, WebhookKind};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testing::{AUTH_TOKEN, BASE_URL, Database, Webhook};
use wiremock::matchers::{any, basic_auth};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate};

const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// A Secrets Manager with one secret for each ARN.
struct Manager {
    server: MockServer,
    state: &'static State,
}

#[derive(Default)]
struct State {
    database: Mutex<Value>,
    twilio: Mutex<Value>,
    is_down: AtomicBool,
    delay_ms: AtomicU64,
    requests: AtomicUsize,
}

struct Responder(&'static State);

impl Respond for Responder {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        if self.0.is_down.load(Ordering::SeqCst) {
            return ResponseTemplate::new(503).set_body_json(json!({ "__type": "InternalServiceError" }));
        }
        let input: Value = serde_json::from_slice(&request.body).unwrap();
        let secret = match input["SecretId"].as_str().unwrap() {
            "arn:database" => &self.0.database,
            _ => &self.0.twilio,
        };
        let text = match &*secret.lock().unwrap() {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let delay = Duration::from_millis(self.0.delay_ms.load(Ordering::SeqCst));
        ResponseTemplate::new(200).set_body_json(json!({ "SecretString": text })).set_delay(delay)
    }
}

impl Manager {
    async fn start(database: Value, twilio: Value) -> Self {
        let state: &'static State = Box::leak(Box::default());
        *state.database.lock().unwrap() = database;
        *state.twilio.lock().unwrap() = twilio;
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(Responder(state)).mount(&server).await;
        Self { server, state }
    }

    fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Returns the environment of a function.
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER" => return Some(self.server.uri()),
            "AWS_REGION" => "us-east-1",
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "test",
            "DATABASE_SECRET_ARN" => "arn:database",
            "TWILIO_SECRET_ARN" => "arn:twilio",
            "TWILIO_ACCOUNT_SID" => ACCOUNT,
            "SECRETS_FETCH_BUDGET_MS" => "1000",
            "PUBLIC_WEBHOOK_BASE_URL" => BASE_URL,
            "INBOUND_QUEUE_URL" | "STATUS_QUEUE_URL" => "http://127.0.0.1:1/queue",
            _ => return None,
        };
        Some(value.to_owned())
    }

    async fn fetch(&self) -> Secrets {
        Secrets::fetch(&|name| self.variable(name)).await.unwrap()
    }
}

fn database() -> Value {
    json!({ "url": "postgres://u:hunter2@127.0.0.1:1/x" })
}

fn token(token: &str) -> Value {
    json!({ "auth_token": token })
}

/// The variables that two secrets stand for.
#[derive(Debug)]
struct Sample {
    url: String,
    token: String,
}

impl Configuration for Sample {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let (url, token) = (env.text("DATABASE_URL"), env.text("TWILIO_AUTH_TOKEN"));
        Some(Self { url: url?, token: token? })
    }
}

#[tokio::test]
async fn variables_come_from_the_keys_of_a_secret_unless_they_are_set() {
    let manager = Manager::start(database(), token("a")).await;
    let secrets = manager.fetch().await;
    let sample = Sample::from_sources(&|name| manager.variable(name), secrets.clone()).unwrap();
    assert_eq!((sample.url.as_str(), sample.token.as_str()), ("postgres://u:hunter2@127.0.0.1:1/x", "a"));
    let set = |name: &str| (name == "TWILIO_AUTH_TOKEN").then(|| "set".to_owned());
    assert_eq!(Sample::from_sources(&set, secrets.clone()).unwrap().token, "set");
    assert_eq!(manager.requests(), 2);
    assert!(!format!("{secrets:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_unusable_secret_is_an_error_that_names_variable_and_key_without_values() {
    let manager = Manager::start(json!({ "uri": "hunter2" }), token("a")).await;
    let secrets = manager.fetch().await;
    let error = Sample::from_sources(&|_| None, secrets).unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid configuration: DATABASE_URL is missing: the secret of DATABASE_SECRET_ARN has no \"url\""
    );
    for unusable in [json!("hunter2"), json!(["hunter2"]), json!({ "url": ["hunter2"] })] {
        let manager = Manager::start(unusable, token("a")).await;
        let error = Secrets::fetch(&|name| manager.variable(name)).await.unwrap_err();
        let error = common::error::chain(&error);
        assert!(error.contains("DATABASE_SECRET_ARN is not a JSON object"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_function_does_not_start_without_its_secrets() {
    let manager = Manager::start(database(), token("a")).await;
    manager.state.is_down.store(true, Ordering::SeqCst);
    let error = Secrets::fetch(&|name| manager.variable(name)).await.unwrap_err();
    assert!(error.to_string().contains("_SECRET_ARN"), "{error}");
    assert!(manager.requests() > 2, "it was tried again: {}", manager.requests());
}

#[tokio::test]
async fn a_secret_is_fetched_again_once_per_interval_and_by_one_caller_at_a_time() {
    let manager = Manager::start(database(), token("a")).await;
    let secrets = manager.fetch().await;
    let seen = secrets.version("TWILIO_AUTH_TOKEN");
    *manager.state.twilio.lock().unwrap() = token("b");
    let callers = (0..20).map(|_| secrets.renew("TWILIO_AUTH_TOKEN", seen));
    let versions = futures::future::join_all(callers).await;
    assert_eq!(versions, vec![Some(seen + 1); 20]);
    assert_eq!(secrets.get("TWILIO_AUTH_TOKEN").unwrap(), "b");
    assert_eq!(manager.requests(), 3);
    *manager.state.twilio.lock().unwrap() = token("c");
    assert_eq!(secrets.renew("TWILIO_AUTH_TOKEN", seen + 1).await, None, "within the interval");
    assert_eq!(secrets.renew("DATABASE_URL", 1).await, None, "fetched, unchanged");
    assert_eq!(manager.requests(), 4);
}

#[tokio::test]
async fn a_failed_fetch_keeps_the_values() {
    let manager = Manager::start(database(), token("a")).await;
    let secrets = manager.fetch().await;
    manager.state.is_down.store(true, Ordering::SeqCst);
    assert_eq!(secrets.renew("TWILIO_AUTH_TOKEN", 1).await, None);
    assert_eq!(secrets.get("TWILIO_AUTH_TOKEN").unwrap(), "a");
}

#[tokio::test]
async fn a_failed_fetch_is_repeated_after_a_second_and_not_for_every_caller() {
    let manager = Manager::start(database(), token("a")).await;
    let secrets = manager.fetch().await;
    *manager.state.twilio.lock().unwrap() = token("b");
    manager.state.is_down.store(true, Ordering::SeqCst);
    assert_eq!(secrets.renew("TWILIO_AUTH_TOKEN", 1).await, None);
    let failed = Instant::now();
    let requests = manager.requests();
    manager.state.is_down.store(false, Ordering::SeqCst);
    // Twilio repeats a webhook for some seconds, and the interval is 30.
    while secrets.renew("TWILIO_AUTH_TOKEN", 1).await != Some(2) {
        assert!(failed.elapsed() < Duration::from_secs(20), "the interval must not apply after a failure");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(failed.elapsed() >= Duration::from_millis(900), "wrong signatures must not cause load");
    assert_eq!(manager.requests(), requests + 1);
}

#[tokio::test]
async fn a_fetch_continues_when_its_caller_stops_waiting() {
    let manager = Manager::start(database(), token("a")).await;
    let secrets = manager.fetch().await;
    *manager.state.twilio.lock().unwrap() = token("b");
    manager.state.delay_ms.store(500, Ordering::SeqCst);
    let impatient = secrets.renew("TWILIO_AUTH_TOKEN", 1);
    assert!(tokio::time::timeout(Duration::from_millis(100), impatient).await.is_err());
    assert_eq!(secrets.renew("TWILIO_AUTH_TOKEN", 1).await, Some(2));
    assert_eq!(secrets.get("TWILIO_AUTH_TOKEN").unwrap(), "b");
    assert_eq!(manager.requests(), 3);
}

/// Returns the status of the response to a webhook that is signed with `token`.
async fn status(receiver: &Receiver, token: &str) -> u16 {
    let webhook = Webhook::form("/webhook/twilio/sms", "MessageSid=SM1");
    let event = webhook.signed_with(token, BASE_URL, &[("MessageSid", "SM1")]).event().to_string();
    let handler = async |request: &Request| -> Result<Response, ApiError> {
        receiver.admit(request).await.map(|_| http::empty(StatusCode::OK))
    };
    http::serve(&event, handler).await.status().as_u16()
}

#[tokio::test]
async fn the_first_webhook_with_a_rotated_token_is_accepted_and_wrong_ones_cause_one_fetch() {
    let manager = Manager::start(database(), token(AUTH_TOKEN)).await;
    let lookup = |name: &str| manager.variable(name);
    let mut env = Env::with_secrets(&lookup, manager.fetch().await);
    let receiver = Receiver::init(ReceiverConfig::from_env(&mut env).unwrap(), WebhookKind::Incoming);
    assert_eq!(status(&receiver, AUTH_TOKEN).await, 200);
    assert_eq!(manager.requests(), 2, "nothing is fetched for a valid signature");
    *manager.state.twilio.lock().unwrap() = token(&format!("rotated, {AUTH_TOKEN}"));
    assert_eq!(status(&receiver, "rotated").await, 200);
    assert_eq!(status(&receiver, AUTH_TOKEN).await, 200, "the old token is still in the list");
    for _ in 0..100 {
        assert_eq!(status(&receiver, "wrong").await, 403);
    }
    assert_eq!(manager.requests(), 3);
}

#[tokio::test]
async fn a_call_to_twilio_that_is_refused_is_repeated_with_the_credentials_of_the_secret() {
    let key = |secret: &str| json!({ "auth_token": "t", "api_key_sid": "SK1", "api_key_secret": secret });
    let manager = Manager::start(database(), key("old")).await;
    let twilio = MockServer::start().await;
    let page = json!({ "messages": [], "next_page_uri": null });
    let accepted = ResponseTemplate::new(200).set_body_json(page);
    Mock::given(basic_auth("SK1", "new")).respond_with(accepted).mount(&twilio).await;
    let refused =
        ResponseTemplate::new(401).set_body_json(json!({ "code": 20003, "message": "Authenticate" }));
    Mock::given(any()).respond_with(refused).with_priority(9).mount(&twilio).await;
    let lookup = |name: &str| match name {
        "TWILIO_API_BASE_URL" => Some(twilio.uri()),
        _ => manager.variable(name),
    };
    let mut env = Env::with_secrets(&lookup, manager.fetch().await);
    let client = TwilioClient::new(TwilioConfig::from_env(&mut env).unwrap()).unwrap();
    *manager.state.twilio.lock().unwrap() = key("new");
    client.check().await.unwrap();
    assert_eq!(manager.requests(), 3);
    assert_eq!(twilio.received_requests().await.unwrap().len(), 2, "refused, accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_succeeds_after_the_user_of_the_database_was_replaced() {
    let database = Database::create().await;
    let right = database.url();
    let (scheme, rest) = right.split_once("://").unwrap();
    let after_user = &rest[rest.find('@').unwrap()..];
    let retired = format!("{scheme}://retired:x{after_user}");
    let manager = Manager::start(json!({ "url": retired }), token("a")).await;
    let lookup = |name: &str| manager.variable(name);
    let mut env = Env::with_secrets(&lookup, manager.fetch().await);
    let db = Db::new(&DatabaseConfig::from_env(&mut env).unwrap()).unwrap();
    *manager.state.database.lock().unwrap() = json!({ "url": right });
    tokio::time::timeout(Duration::from_secs(10), db.ping()).await.unwrap().unwrap();
    assert_eq!(manager.requests(), 3);
    let clone = db.clone();
    clone.ping().await.unwrap();
    assert_eq!(manager.requests(), 3, "clones share the new connections");
}
