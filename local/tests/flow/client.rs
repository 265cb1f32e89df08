//! What a test does to a stack: as a handset, as Twilio, as a caller of the API, and by looking into its parts.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use testing::Webhook;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use crate::oracle::Intent;
use crate::stack::{Stack, eventually};

/// Where Twilio posts incoming messages.
pub const SMS_PATH: &str = "/webhook/twilio/sms";
/// Where Twilio reports statuses.
pub const STATUS_PATH: &str = "/webhook/twilio/status";

/// One client for all tests, each with a runtime of its own: a connection must not outlive the runtime it was made in.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // Another test may have chosen it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
    builder.timeout(crate::stack::DEADLINE).build().unwrap()
});

/// A number that no other test uses.
pub fn fresh_handset() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("+1202{}", 5_550_200 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A MessageSid that no other test uses.
pub fn fresh_sid() -> String {
    #[expect(clippy::disallowed_methods, reason = "a test needs no clock of the service's")]
    let unique = uuid::Uuid::new_v4();
    format!("SM{}", unique.simple())
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub request_id: Option<String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The code of the error envelope.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request and reads its answer.
pub async fn exchange(request: reqwest::RequestBuilder) -> Answer {
    try_exchange(request).await.unwrap()
}

/// The same where there may be nobody to answer.
pub async fn try_exchange(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let request_id = response.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
    Ok(Answer { status: response.status().as_u16(), request_id, text: response.text().await? })
}

/// A request to a stack, or to anything else.
pub fn request(method: &str, url: &str) -> reqwest::RequestBuilder {
    HTTP.request(method.parse().unwrap(), url)
}

/// As a caller of the API.
impl Stack {
    /// A request with the stack's own key.
    pub fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.call_with(self.info.api_key.as_ref().unwrap(), method, path)
    }

    /// A request with another key.
    pub fn call_with(&self, key: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        request(method, &format!("{}{path}", self.info.api_url)).bearer_auth(key)
    }

    /// Asks until there is an answer other than that Postgres was too slow for one, which it may be on a busy machine.
    pub async fn answer(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.answer_to(|| {
            let call = self.call(method, path);
            if let Some(body) = body { call.json(body) } else { call }
        })
        .await
    }

    /// The same for any request; one that may be made twice.
    pub async fn answer_to(&self, request: impl Fn() -> reqwest::RequestBuilder) -> Answer {
        eventually("an answer other than 503", async || {
            Some(exchange(request()).await).filter(|answer| answer.status != 503)
        })
        .await
    }

    /// Asks for a message to be sent, once: as often as it takes to be answered, under one Idempotency-Key.
    pub async fn ask(&self, payload: &Value) -> Answer {
        let key = fresh_sid();
        self.answer_to(|| self.call("POST", "/sms/send").header("idempotency-key", &key).json(payload)).await
    }

    /// Asks for a message to be sent.
    pub async fn try_send(&self, to: &str, body: &str) -> Answer {
        self.ask(&json!({ "to": to, "body": body })).await
    }

    /// Has a message accepted, and returns its id.
    pub async fn send(&self, to: &str, body: &str) -> String {
        let answer = self.try_send(to, body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let accepted = answer.json();
        assert_eq!((accepted["status"].as_str(), &accepted["twilio_sid"]), (Some("pending"), &Value::Null));
        accepted["id"].as_str().unwrap().to_owned()
    }

    /// Has a message accepted that is to be sent in an hour, and returns its id.
    pub async fn send_in_an_hour(&self, to: &str, body: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "a test needs no clock of the service's")]
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let answer = self.ask(&json!({ "to": to, "body": body, "send_at": at.to_string() })).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Lets the time come for which a message waits.
    pub async fn comes_due(&self, id: &str) {
        let due = "update sms_messages set next_attempt_at = now(), send_at = least(send_at, now())
            where id = $1::text::uuid and next_attempt_at is not null";
        self.sql().await.client.execute(due, &[&id]).await.unwrap();
    }

    /// Has a message accepted whose text nobody else's is.
    pub async fn intend(&self, to: &str, body: &str) -> Intent {
        self.try_intend(to, body).await.unwrap_or_else(|| panic!("{to} has opted out"))
    }

    /// The same where the recipient may have opted out by now: then nothing is accepted.
    pub async fn try_intend(&self, to: &str, body: &str) -> Option<Intent> {
        let body = format!("{body} {}", fresh_sid());
        let answer = self.try_send(to, &body).await;
        if answer.status == 409 && answer.code() == "sms.recipient_opted_out" {
            return None;
        }
        assert_eq!(answer.status, 202, "{answer:?}");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        Some(Intent { id, to: to.to_owned(), body })
    }

    /// A message as the API shows it.
    pub async fn message(&self, id: &str) -> Value {
        let answer = self.answer("GET", &format!("/messages/{id}"), None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Waits until the API shows a message with this status.
    pub async fn reaches(&self, id: &str, status: &str) -> Value {
        self.becomes(id, status, |message| message["delivery_status"] == status).await
    }

    /// Waits until the API shows a message as wanted.
    pub async fn becomes(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = tokio::time::timeout(crate::stack::DEADLINE, async {
            loop {
                last = self.message(id).await;
                if wanted(&last) {
                    return last.clone();
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("never {what}: {last:#}"))
    }

    /// A conversation as the API shows it, if there is one.
    pub async fn conversation(&self, number: &str) -> Option<Value> {
        let answer = self.answer("GET", &format!("/conversations/{number}"), None).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        (answer.status == 200).then(|| answer.json())
    }

    /// Waits until a conversation is as wanted.
    pub async fn conversation_where(&self, number: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the conversation with {number} is as wanted"), async || {
            self.conversation(number).await.filter(&wanted)
        })
        .await
    }
}

/// As Twilio, and as its handsets.
impl Stack {
    /// A text from a handset through the simulator, which must have delivered it to the webhook.
    pub async fn text(&self, from: &str, body: &str) -> Value {
        let url = format!("{}/simulator/handsets/{from}/messages", self.info.twilio_api_url);
        let answer = exchange(request("POST", &url).json(&json!({ "body": body }))).await;
        let sent = answer.json();
        assert_eq!(sent["delivered"], 1, "{sent:#}");
        sent
    }

    /// What a handset got from the API, by kind `message`; Twilio's own notices are left out.
    pub async fn ledger(&self, handset: &str) -> Vec<Value> {
        let url = format!("{}/simulator/ledger?to={handset}", self.info.twilio_api_url);
        let answer = exchange(request("GET", &url)).await;
        let received: Vec<Value> = serde_json::from_str(&answer.text).unwrap();
        received.into_iter().filter(|received| received["kind"] == "message").collect()
    }

    /// How many create calls for a handset have been read.
    pub async fn creates(&self, handset: &str) -> usize {
        let url = format!("{}/simulator/creates", self.info.twilio_api_url);
        let creates = exchange(request("GET", &url)).await.json();
        creates.as_array().unwrap().iter().filter(|create| create["to"] == handset).count()
    }

    /// Arms a fault of the simulator's.
    pub async fn arm(&self, fault: Value) {
        let url = format!("{}/simulator/faults", self.info.twilio_api_url);
        let answer = exchange(request("POST", &url).json(&fault)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Arms a fault for the next message to a handset.
    pub async fn arm_for(&self, to: &str, fault: Value) {
        self.arm(json!({ "match": { "to": to }, "fault": fault })).await;
    }

    /// Closes the simulator's port for some seconds, and waits until it is closed, or was.
    pub async fn twilio_away(&self, seconds: f64) {
        let url = format!("{}/simulator/outage", self.info.twilio_api_url);
        let answer = exchange(request("POST", &url).json(&json!({ "seconds": seconds }))).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let begun = std::time::Instant::now();
        eventually("the simulator is away", async || {
            let answer = try_exchange(request("GET", &self.info.twilio_api_url)).await;
            let is_away = answer.is_err_and(|error| error.is_connect());
            (is_away || begun.elapsed().as_secs_f64() > seconds + 1.0).then_some(())
        })
        .await;
    }

    /// The webhook of an incoming text, signed.
    pub fn incoming(&self, from: &str, sid: &str, body: &str) -> Webhook {
        self.incoming_at(SMS_PATH, from, sid, body)
    }

    /// The same at another path.
    pub fn incoming_at(&self, path: &'static str, from: &str, sid: &str, body: &str) -> Webhook {
        let form = [
            ("ToCountry", "US"),
            ("SmsMessageSid", sid),
            ("NumMedia", "0"),
            ("SmsSid", sid),
            ("SmsStatus", "received"),
            ("Body", body),
            ("To", self.info.phone_number.as_str()),
            ("NumSegments", "1"),
            ("MessageSid", sid),
            ("AccountSid", self.info.account_sid.as_str()),
            ("From", from),
            ("ApiVersion", "2010-04-01"),
        ];
        self.signed(path, &form)
    }

    /// A status callback, signed; without our id in its URL.
    pub fn callback(&self, sid: &str, status: &str, error_code: Option<&str>) -> Webhook {
        self.callback_at(STATUS_PATH, sid, status, error_code)
    }

    /// The same at another path.
    pub fn callback_at(
        &self,
        path: &'static str,
        sid: &str,
        status: &str,
        error_code: Option<&str>,
    ) -> Webhook {
        let mut form = vec![
            ("SmsSid", sid),
            ("SmsStatus", status),
            ("MessageStatus", status),
            ("MessageSid", sid),
            ("AccountSid", self.info.account_sid.as_str()),
            ("From", self.info.phone_number.as_str()),
            ("ApiVersion", "2010-04-01"),
        ];
        form.extend(error_code.map(|code| ("ErrorCode", code)));
        self.signed(path, &form)
    }

    fn signed(&self, path: &'static str, form: &[(&str, &str)]) -> Webhook {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        Webhook::form(path, body).signed_with(&self.info.auth_token, &self.info.webhook_base_url, form)
    }

    /// Posts a webhook as Twilio would.
    pub async fn post(&self, webhook: &Webhook) -> Answer {
        let mut post = request("POST", &format!("{}{}", self.info.webhook_base_url, webhook.path()));
        for (name, value) in webhook.headers() {
            post = post.header(name, value);
        }
        exchange(post.body(webhook.body().to_vec())).await
    }

    /// Posts a webhook that must be accepted.
    pub async fn accepts(&self, webhook: &Webhook) {
        let answer = self.post(webhook).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Into its parts.
impl Stack {
    /// The database.
    pub async fn sql(&self) -> Sql {
        Sql::connect(self.database_url()).await
    }

    /// A client of the queues.
    pub fn sqs(&self, endpoint: &str) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        aws_sdk_sqs::Client::from_conf(config)
    }

    /// Where the queues are, whichever server it is.
    pub fn sqs_endpoint(&self) -> String {
        let url = url::Url::parse(self.info.queues.values().next().unwrap()).unwrap();
        url.origin().ascii_serialization()
    }

    /// How many messages each queue holds, in whatever state, if it holds any.
    pub async fn queued(&self) -> BTreeMap<String, i64> {
        use QueueAttributeName as Name;
        let counts = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
            Name::ApproximateNumberOfMessagesDelayed,
        ];
        let client = self.sqs(&self.sqs_endpoint());
        let mut queued = BTreeMap::new();
        for (name, url) in &self.info.queues {
            let request = client.get_queue_attributes().queue_url(url).attribute_names(Name::All);
            let answer = request.send().await.unwrap();
            let count = |name| answer.attributes()?.get(name)?.parse::<i64>().ok();
            let total: i64 = counts.iter().filter_map(count).sum();
            if total > 0 {
                queued.insert(name.clone(), total);
            }
        }
        queued
    }

    /// Waits until every queue is empty, dead-letter queues included.
    pub async fn queues_are_empty(&self) {
        self.queues_hold(&[]).await;
    }

    /// Waits until the queues hold exactly this.
    pub async fn queues_hold(&self, expected: &[(&str, i64)]) {
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let mut last = BTreeMap::new();
        let settled = tokio::time::timeout(crate::stack::DEADLINE, async {
            loop {
                last = self.queued().await;
                if last == expected {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        });
        assert!(settled.await.is_ok(), "the queues hold {last:?}, not {expected:?}");
    }

    /// Invokes a function as an operator would.
    pub async fn invoke(&self, function: &str, payload: Value) -> Value {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.info.aws_endpoint_url);
        exchange(request("POST", &url).json(&payload)).await.json()
    }

    /// Waits for the sweep to have run some more times, begun after this call.
    pub async fn sweeps(&self, times: u32) {
        let count = async || {
            let metrics = exchange(request("GET", &format!("{}/metrics", self.info.api_url))).await.text;
            let line = "lambda_invocations_total{function=\"retry-sends\"} ";
            metrics.lines().find_map(|text| text.strip_prefix(line)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        // The one that runs now may have begun before.
        let until = count().await + f64::from(times) + 1.0;
        eventually("the sweep has run", async || (count().await >= until).then_some(())).await;
    }
}

/// A connection to a stack's database.
pub struct Sql {
    pub client: tokio_postgres::Client,
}

impl Sql {
    pub async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { client }
    }

    pub async fn row(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Row {
        self.client.query_one(sql, parameters).await.unwrap()
    }

    /// A number.
    pub async fn count(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> i64 {
        self.row(sql, parameters).await.get(0)
    }

    /// Waits until a count is as expected.
    pub async fn reaches(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)], expected: i64) {
        eventually(&format!("{sql} is {expected}"), async || {
            (self.count(sql, parameters).await == expected).then_some(())
        })
        .await;
    }
}

/// How many inbound messages a handset's conversation holds.
pub const INBOUND_OF: &str =
    "select count(*) from sms_messages where direction = 'inbound' and from_number = $1";
