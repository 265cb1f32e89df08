//! No text, phone number or secret is in any output of a run in which every kind of error occurs: logs, metrics,
//! traces and the attributes of queue messages.

mod planted;

use std::fs;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use common::telemetry::{Metric, OTHER};
use serde_json::json;

use self::planted::Planted;
use crate::client::{HttpResponse, fresh_sid, request, send_request};
use crate::deactivations::two_days_ago;
use crate::services::{Database, Queues};
use crate::stack::{Setup, Stack, eventually};

/// A key that the authorizer does not know.
const UNKNOWN_KEY: &str = "sk_5ca1ab1e0ddba11f_plantedunknownapikeyfedcba987654";
/// A signature that is not valid.
const WRONG_SIGNATURE: &str = "cGxhbnRlZHNpZ25hdHVyZTAwMDA=";
/// A text with words that nothing else contains.
const TEXT: &str = "Good morning, the Warmwasserboiler in our apartment explodierte, mañanaseptiembre";
/// The automatic reply.
const AUTO_REPLY: &str = "Unser Anrufbeantworter antwortet";
/// A word in fields other than the text.
const FIELD: &str = "Geheimnisträgerin";

/// A stack with all peers outside it, and what was planted.
struct World {
    stack: Stack,
    queues: Queues,
    database: Database,
    planted: Planted,
    traces: Arc<Mutex<Vec<u8>>>,
    next_number: u32,
}

impl World {
    async fn start() -> Self {
        let (queues, database) = (Queues::start().await, Database::start().await);
        let database_url = url::Url::parse(&database.url()).unwrap();
        let (collector, traces) = collector().await;
        let stack = Setup::fast()
            .with("AWS_ENDPOINT_URL_SQS", &queues.url())
            .with("DATABASE_URL", database_url.as_str())
            .with("DATABASE_CONNECT_TIMEOUT_MS", "5000")
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector)
            .with("OTEL_EXPORTER_OTLP_TIMEOUT", "10000")
            .with("AUTO_REPLY_EN", AUTO_REPLY)
            .with("TWILIO_TIMEOUT_MS", "2000")
            .with("SEND_RETRY_DELAYS_SECONDS", "1,1,1")
            .with("SENDER_HOLD_SECONDS", "1")
            .with("UNKNOWN_RESOLVE_AFTER_SECONDS", "1")
            .with("MONITOR_TIMEOUT_MS", "500")
            .with("MONITOR_BUDGET_MS", "1500")
            .with("MONITOR_BREAKER_SECONDS", "1")
            .with("TENANT_PROFILE_TIMEOUT_MS", "500")
            .with("TENANT_RETRY_SECONDS", "1")
            .start()
            .await;
        let mut planted = Planted::default();
        for text in [TEXT, AUTO_REPLY, FIELD] {
            planted.text(text);
        }
        let key = stack.info.api_key.clone().unwrap();
        let password = database_url.password().unwrap();
        for secret in [password, UNKNOWN_KEY, WRONG_SIGNATURE, &stack.info.auth_token, &key] {
            planted.secret(secret);
        }
        planted.number(&stack.info.phone_number);
        Self { stack, queues, database, planted, traces, next_number: 0 }
    }

    /// Returns a new planted number.
    fn number(&mut self) -> String {
        self.next_number += 1;
        let number = format!("+1202555{}", 7_300 + self.next_number);
        self.planted.number(&number);
        number
    }

    /// Returns all logs of the stack's processes with their names, without that of Postgres.
    fn logs(&self) -> Vec<(String, String)> {
        let folder = self.stack.folder();
        let functions = fs::read_dir(folder.join("target/local/logs")).unwrap().flatten();
        let logs = functions.map(|log| log.path()).chain([folder.join("stderr")]);
        logs.map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
        })
        .collect()
    }

    /// Waits until a function has logged an event.
    async fn wait_for_event(&self, function: &str, event: &str) {
        eventually(&format!("{function} has logged {event:?}"), async || {
            self.stack.log(function).iter().any(|line| line["message"] == event).then_some(())
        })
        .await;
    }

    async fn metrics(&self, accept: &str) -> String {
        let url = format!("{}/metrics", self.stack.info.api_url);
        send_request(request("GET", &url).header("accept", accept)).await.text
    }
}

/// Starts a server that keeps everything that is posted to it, and returns its URL.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let own = kept.clone();
    let keep = async move |body: Bytes| own.lock().unwrap().extend_from_slice(&body);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(keep)).await });
    (url, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_contains_a_text_a_number_or_a_secret() {
    let mut world = World::start().await;
    conversation(&mut world).await;
    invalid_requests(&mut world).await;
    twilio_errors(&mut world).await;
    monitor_and_profile_errors(&mut world).await;
    poison_records(&mut world).await;
    operators(&mut world).await;
    outages(&mut world).await;
    world.stack.wait_for_sweeps(2).await;
    check(&world).await;
}

/// Messages in both directions, callbacks, a STOP, and every endpoint.
async fn conversation(world: &mut World) {
    let (handset, stack) = (world.number(), &world.stack);
    stack.send_from_handset(&handset, TEXT).await;
    let page = stack.wait_for_conversation(&handset, |page| page["total"] != 0).await;
    let id = stack.send(&handset, TEXT).await;
    let message = stack.wait_for_status(&id, "delivered").await;
    let sid = message["twilio_sid"].as_str().unwrap();
    for (sid, status, code) in
        [(sid, "undelivered", Some("30003")), (sid, FIELD, None), (&fresh_sid(), "sent", None)]
    {
        stack.deliver_webhook(&stack.status_callback(sid, status, code)).await;
    }
    stack
        .deliver_webhook(&stack.inbound_webhook_at(crate::client::STATUS_PATH, &handset, &fresh_sid(), TEXT))
        .await;
    let conversation = format!("/conversations/{}", handset.replace('+', "%2B"));
    let changes = json!({ "workflow_type": FIELD, "workflow_id": TEXT, "conversation_status": "closed" });
    for (method, path, body) in [
        ("GET", "/conversations?limit=2".to_owned(), None),
        ("PATCH", conversation.clone(), Some(&changes)),
        ("POST", format!("/messages/{id}/cancel"), None),
        ("GET", format!("/messages/{}", page["messages"][0]["id"].as_str().unwrap_or("none")), None),
    ] {
        stack.response(method, &path, body).await;
    }
    stack.send_from_handset(&handset, "STOP").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;
    assert_eq!(stack.try_send(&handset, TEXT).await.code(), "sms.recipient_opted_out");
    let erased = stack.response("DELETE", &format!("{conversation}/content"), None).await;
    assert!(matches!(erased.status, 200 | 202), "{erased:?}");
}

/// Requests that are refused: invalid JSON, fields, keys, signatures and forms.
async fn invalid_requests(world: &mut World) {
    let (number, stack) = (world.number(), &world.stack);
    let post = async |body: String| -> HttpResponse {
        send_request(
            stack.api_request("POST", "/sms/send").header("content-type", "application/json").body(body),
        )
        .await
    };
    for body in [
        format!("{{\"to\":\"{number}\",\"body\":{TEXT}"),
        json!({ "to": number, "body": TEXT, number.clone(): FIELD, FIELD: 1 }).to_string(),
        json!({ "to": format!("{number}x{FIELD}"), "body": TEXT, "priority": FIELD, "send_at": number })
            .to_string(),
        json!({ "to": number, "body": TEXT.repeat(50), "media_urls": [TEXT, format!("ftp://{FIELD}")] })
            .to_string(),
        json!({ "to": number, "body": TEXT, "from": number, "conversation_id": FIELD }).to_string(),
    ] {
        let response = post(body).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (400, "sms.validation_error"),
            "{response:?}"
        );
    }
    for path in ["/conversations/", "/messages/", "/conversations?workflow_id="] {
        let response = stack.response("GET", &format!("{path}{number}{FIELD}"), None).await;
        assert!(matches!(response.status, 200 | 400 | 404), "{response:?}");
    }
    for key in [UNKNOWN_KEY, FIELD, &number] {
        let body = json!({ "to": number, "body": TEXT });
        let response = send_request(
            request("POST", &format!("{}/sms/send", stack.info.api_url))
                .header("authorization", key.as_bytes())
                .json(&body),
        );
        assert!(matches!(response.await.status, 401 | 403));
    }
    let webhook = stack.inbound_webhook(&number, &fresh_sid(), TEXT);
    for forged in [
        webhook.clone().header("x-twilio-signature", WRONG_SIGNATURE),
        webhook.clone().query(&format!("From={number}&Body={FIELD}")),
        webhook.header("x-request-id", &format!("{number} {FIELD}")).header("x-twilio-signature", FIELD),
    ] {
        let mut post = request("POST", &format!("{}{}?{FIELD}", stack.info.webhook_base_url, forged.path()));
        for (name, value) in forged.headers() {
            post = post.header(name, value.as_bytes());
        }
        let response = send_request(post.body(forged.body().to_vec())).await;
        assert_eq!(response.status, 403, "{response:?}");
    }
    world.wait_for_event("send-sms", "invalid request").await;
    world.wait_for_event("authorize", "API key rejected").await;
    world.wait_for_event("inbound-sms", "invalid Twilio signature").await;
}

/// Twilio rejects, limits, fails, or does not respond. It lists a number as deactivated, and text.
async fn twilio_errors(world: &mut World) {
    for (fault, status) in [
        (json!({ "kind": "error", "code": 21211, "status": 400 }), "failed"),
        (json!({ "kind": "error", "code": 21610, "status": 400 }), "failed"),
        (json!({ "kind": "rate_limited", "retry_after": 1 }), "delivered"),
        (json!({ "kind": "server_error", "accept": true }), "delivered"),
        (json!({ "kind": "garbled" }), "delivered"),
        (json!({ "kind": "truncated" }), "delivered"),
        (json!({ "kind": "hang", "accept": true }), "delivered"),
        (json!({ "kind": "undelivered", "code": 30005 }), "undelivered"),
        (json!({ "kind": "error", "code": 20003, "status": 401 }), "delivered"),
    ] {
        let number = world.number();
        world.stack.set_fault_for(&number, fault).await;
        let id = world.stack.send(&number, TEXT).await;
        world.stack.wait_for_status(&id, status).await;
    }
    for event in
        ["send failed", "deferred a send", "send outcome unknown", "sender configuration rejected by Twilio"]
    {
        world.wait_for_event("send-outbound", event).await;
    }
    let number = world.number();
    world.stack.set_deactivations(&two_days_ago(), &[&number, FIELD]).await;
    let event = "lines of a list of deactivated numbers are no numbers";
    world.wait_for_event("deactivations", event).await;
}

/// The Monitor and the profile service fail.
async fn monitor_and_profile_errors(world: &mut World) {
    for fault in
        [json!({ "kind": "status", "status": 500 }), json!({ "kind": "html" }), json!({ "kind": "down" })]
    {
        let number = world.number();
        let url = format!("{}/stand-in/fault", world.stack.info.monitor_api_url);
        assert_eq!(send_request(request("PUT", &url).json(&fault)).await.status, 204);
        world.stack.send_from_handset(&number, TEXT).await;
        world.stack.wait_for_conversation(&number, |page| page["total"] != 0).await;
        world.stack.wait_for_sweeps(2).await;
        assert_eq!(send_request(request("DELETE", &url)).await.status, 204);
    }
    let failed = eventually("a lookup has failed", async || {
        let lines =
            ["identify-tenant", "reconcile-tenants"].map(|function| world.stack.log(function)).concat();
        lines
            .into_iter()
            .find(|line| line["message"].as_str().unwrap_or("").starts_with("tenant lookup failed"))
    });
    assert!(failed.await["error"].is_string());
}

/// Records that no function can process, and one that Postgres rejects with the values in its message.
async fn poison_records(world: &mut World) {
    let number = world.number();
    let sql = world.stack.sql().await;
    let constraint =
        format!("alter table sms_messages add constraint planted check (message_content !~ '{FIELD}')");
    sql.client.batch_execute(&constraint).await.unwrap();
    let record = |version: &str, form: String| {
        json!({ "version": version, "received_at": "2026-11-23T10:00:00Z", "form": form }).to_string()
    };
    let encoded = number.replace('+', "%2B");
    let client = world.stack.sqs(&world.stack.sqs_endpoint());
    for (queue, body) in [
        ("InboundQueue", format!("{TEXT} {number}")),
        ("InboundQueue", json!({ "version": "1", "received_at": TEXT, "form": number }).to_string()),
        ("InboundQueue", record("1", format!("Body={FIELD}&From={encoded}"))),
        ("InboundQueue", record("1", format!("MessageSid={}&Body={FIELD}&From={encoded}", fresh_sid()))),
        ("StatusQueue", json!({ "version": "1", "received_at": 1, "form": FIELD }).to_string()),
        ("OutboundQueue", json!({ "version": "1", "message_id": number }).to_string()),
        ("IdentifyQueue", json!({ "version": "1", "conversation_id": FIELD, "number": number }).to_string()),
    ] {
        client
            .send_message()
            .queue_url(&world.stack.info.queues[queue])
            .message_body(body)
            .send()
            .await
            .unwrap();
    }
    for function in ["record-inbound", "record-status", "send-outbound", "identify-tenant"] {
        world.wait_for_event(function, "queue record failed").await;
    }
    eventually("the rejected row is logged", async || {
        let log = world.stack.log("record-inbound");
        log.iter()
            .any(|line| line["error"].as_str().unwrap_or("").contains("constraint planted"))
            .then_some(())
    })
    .await;
    sql.client.batch_execute("alter table sms_messages drop constraint planted").await.unwrap();
}

/// Operators create keys and look at messages.
async fn operators(world: &mut World) {
    let number = world.number();
    let created = json!({ "action": "create", "name": "planted", "scopes": ["messages:read"] });
    let created = world.stack.invoke("manage-keys", created).await;
    let key = created["key"].as_str().unwrap_or_else(|| panic!("{created:#}"));
    world.planted.secret(key);
    for (function, payload) in [
        ("manage-keys", json!({ "action": FIELD, "name": number })),
        ("manage-sends", json!({ "action": "list", "status": "failed" })),
        ("manage-sends", json!({ "action": "decide", "message_id": number, "was": FIELD })),
        ("reconcile-twilio", json!({ "since": number, "until": FIELD })),
        ("reconcile-twilio", json!({ "since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z" })),
        ("manage-archives", json!({ "action": "restore", "table": FIELD, "month": number })),
    ] {
        world.stack.invoke(function, payload).await;
    }
}

/// SQS and Postgres are unavailable, alone and together.
async fn outages(world: &mut World) {
    let numbers = [world.number(), world.number(), world.number()];
    world.queues.disconnect().await;
    let webhook = world.stack.inbound_webhook(&numbers[0], &fresh_sid(), TEXT);
    world.stack.deliver_webhook(&webhook).await;
    world.wait_for_event("inbound-sms", "could not enqueue webhook, writing it to the spool").await;
    world.database.crash().await;
    let webhook = world.stack.inbound_webhook(&numbers[1], &fresh_sid(), TEXT);
    assert_eq!(world.stack.post_webhook(&webhook).await.status, 503);
    world.queues.reconnect().await;
    let failed = world.stack.log("record-inbound").len();
    let webhook = world.stack.inbound_webhook(&numbers[2], &fresh_sid(), TEXT);
    world.stack.deliver_webhook(&webhook).await;
    let send = json!({ "to": numbers[0], "body": TEXT });
    let refused = send_request(world.stack.api_request("POST", "/sms/send").json(&send)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    eventually("the record has failed", async || {
        let log = world.stack.log("record-inbound");
        log[failed..].iter().any(|line| line["message"] == "queue record failed").then_some(())
    })
    .await;
    world.wait_for_event("send-sms", "request failed").await;
    world.database.restart().await;
    world.stack.wait_for_conversation(&numbers[2], |page| page["total"] != 0).await;
    world.stack.wait_for_conversation(&numbers[0], |page| page["total"] != 0).await;
}

/// Searches all output.
async fn check(world: &World) {
    let metrics = world.metrics("text/plain").await;
    let attributes = world.queues.attributes();
    assert!(attributes.len() > 20, "{attributes:?}");
    let traces = String::from_utf8_lossy(&world.traces.lock().unwrap()).into_owned();
    for span in ["POST /webhook/twilio/sms", "POST /sms/send"] {
        assert!(traces.contains(span), "no span {span:?} was exported");
    }
    let mut outputs = world.logs();
    outputs.extend([
        ("metrics".to_owned(), metrics.clone()),
        ("metrics".to_owned(), world.metrics("application/openmetrics-text").await),
        ("queue attributes".to_owned(), json!(attributes).to_string()),
        ("traces".to_owned(), traces),
    ]);
    let leaks: Vec<String> = outputs
        .iter()
        .flat_map(|(name, text)| {
            world.planted.find(text).into_iter().map(move |leak| format!("{name}: {leak}"))
        })
        .collect();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    check_metrics(&metrics);
}

/// Checks that each series is on the list: a metric of this service with this outcome.
fn check_metrics(text: &str) {
    let mut seen = 0;
    for line in text.lines().filter(|line| line.starts_with("sms_foundation_")) {
        let (name, labels) = line.split_once('{').unwrap();
        let label = |name: &str| {
            let (_, value) = labels.split_once(&format!("{name}=\""))?;
            value.split('"').next()
        };
        let metric = Metric::ALL.iter().find(|metric| name.starts_with(&metric.prometheus_name()));
        let metric = metric.unwrap_or_else(|| panic!("{line} is not on the list of metrics"));
        let service = label("service").unwrap_or_else(|| panic!("{line} has no service"));
        assert!(metric.services().contains(&service), "the list does not have {metric:?} of {service}");
        assert_eq!(label("outcome").is_some(), !metric.outcomes().is_empty(), "{line}");
        assert_ne!(label("outcome"), Some(OTHER), "an outcome is not on the list: {line}");
        seen += 1;
    }
    assert!(seen > 100, "{text}");
}
