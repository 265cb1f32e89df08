//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use testing::{AUTH_TOKEN, BASE_URL, Behaviour, Database, Function, Sqs, Webhook, environment, eventually};

mod refusals;
mod traces;

const BINARY: &str = env!("CARGO_BIN_EXE_inbound-sms");
const PATH: &str = "/webhook/twilio/sms";
const GATEWAY_REQUEST_ID: &str = "e1506fd5-9e7b-434f-bd42-4f8fa224b599";

type Parameters = &'static [(&'static str, &'static str)];

/// A function with its own SQS, and a Postgres that must not be used.
struct World {
    function: Function,
    sqs: Sqs,
    postgres: TcpListener,
}

impl World {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(changes: &[(&'static str, String)]) -> Self {
        let sqs = Sqs::start().await;
        let postgres = TcpListener::bind("127.0.0.1:0").unwrap();
        postgres.set_nonblocking(true).unwrap();
        let mut environment = environment(&sqs, &postgres);
        environment.extend_from_slice(changes);
        Self { function: start(&environment).await, sqs, postgres }
    }

    async fn post(&mut self, webhook: &Webhook) -> Value {
        self.function.call(webhook.event()).await
    }

    /// Waits for a log line.
    async fn logged(&self, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || self.function.log().await.into_iter().find(&is_right)).await
    }

    /// Returns the forms on the queue.
    fn queued(&self) -> Vec<String> {
        self.sqs.sent().iter().map(|sent| sent.body["form"].as_str().unwrap().to_owned()).collect()
    }
}

async fn start(environment: &[(&'static str, String)]) -> Function {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::start(BINARY, &environment).await
}

fn environment(sqs: &Sqs, postgres: &TcpListener) -> Vec<(&'static str, String)> {
    vec![
        ("TWILIO_AUTH_TOKEN", AUTH_TOKEN.to_owned()),
        ("PUBLIC_WEBHOOK_BASE_URL", BASE_URL.to_owned()),
        ("INBOUND_QUEUE_URL", sqs.queue("inbound")),
        ("STATUS_QUEUE_URL", sqs.queue("status")),
        ("AWS_ENDPOINT_URL_SQS", sqs.url().to_owned()),
        ("DATABASE_URL", format!("postgres://u:hunter2@{}/x", postgres.local_addr().unwrap())),
    ]
}

fn hello() -> Webhook {
    let body = "MessageSid=SM1&From=%2B12035550100&Body=hello+there";
    Webhook::form(PATH, body).signed(&[
        ("MessageSid", "SM1"),
        ("From", "+12035550100"),
        ("Body", "hello there"),
    ])
}

fn assert_accepted(reply: &Value) {
    assert_eq!(reply["statusCode"], 200, "{reply}");
    assert_eq!(reply["headers"]["content-type"], "text/xml");
    assert_eq!(reply["body"], "<Response/>");
    assert_eq!(reply["headers"]["x-request-id"], GATEWAY_REQUEST_ID);
}

#[tokio::test]
async fn a_form_a_get_and_a_json_body_are_queued_completely() {
    let mut world = World::start().await;
    let events = [
        include_str!("../../events/post-form.json"),
        include_str!("../../events/get.json"),
        include_str!("../../events/post-json.json"),
    ];
    for event in events {
        assert_accepted(&world.function.call(serde_json::from_str(event).unwrap()).await);
    }
    let sent = world.sqs.sent();
    let body = &sent[0].body;
    assert_eq!(body["version"], "1");
    assert_eq!(body["idempotency_token"], "4d4f7ee2-43b5-4b3c-9b57-7ed60d2c1b11");
    assert!(body["received_at"].as_str().unwrap().starts_with("20"));
    let form = body["form"].as_str().unwrap();
    assert!(form.contains("&Body=%C2%BFCu%C3%A1ndo+vienen%3F+%F0%9F%8F%A0+%2B+100%25&"), "{form}");
    assert_eq!(form.split('&').count(), 20);
    for sent in &sent {
        assert_eq!(sent.queue_url, world.sqs.queue("inbound"));
        assert_eq!(sent.request_id.as_deref(), Some(GATEWAY_REQUEST_ID));
        assert_eq!(sent.body["form"], form);
    }
}

#[tokio::test]
async fn every_encoding_of_a_form_is_accepted_in_order() {
    let mut world = World::start().await;
    let cases: [(&[u8], Parameters, &str); 5] = [
        (
            b"MessageSid=SM1&a=&b=2&a=1&a=",
            &[("MessageSid", "SM1"), ("a", ""), ("a", "1"), ("b", "2")],
            "MessageSid=SM1&a=&b=2&a=1&a=",
        ),
        (
            b"%4d%65ssageSid=%53%4D1&Body=%e2%9c%93",
            &[("MessageSid", "SM1"), ("Body", "✓")],
            "MessageSid=SM1&Body=%E2%9C%93",
        ),
        (
            "MessageSid=SM1&Body=olá ✓".as_bytes(),
            &[("MessageSid", "SM1"), ("Body", "olá ✓")],
            "MessageSid=SM1&Body=ol%C3%A1+%E2%9C%93",
        ),
        (
            b"MessageSid=SM1&Body=a%00b",
            &[("MessageSid", "SM1"), ("Body", "a\0b")],
            "MessageSid=SM1&Body=a%00b",
        ),
        (b"&MessageSid=SM1&&x&=y", &[("MessageSid", "SM1"), ("x", ""), ("", "y")], "MessageSid=SM1&x=&=y"),
    ];
    for (body, parameters, _) in &cases {
        let webhook = Webhook::form(PATH, *body).signed(parameters);
        assert_accepted(&world.post(&webhook).await);
    }
    assert_eq!(world.queued(), cases.map(|(_, _, queued)| queued.to_owned()));
}

#[tokio::test]
async fn a_body_as_text_a_body_without_a_type_and_a_signed_query_are_accepted() {
    let mut world = World::start().await;
    assert_accepted(&world.function.call(hello().text_event()).await);
    let parameters = [("MessageSid", "SM1"), ("From", "+12035550100"), ("Body", "hello there")];
    let query = hello().query("office=a%20b%2Fc&x=%zz").signed(&parameters);
    assert_accepted(&world.post(&query).await);
    let mut untyped = hello().event();
    untyped["headers"].as_object_mut().unwrap().remove("content-type");
    assert_accepted(&world.function.call(untyped).await);
    assert_eq!(world.sqs.sent()[1].body["query"], "office=a+b%2Fc&x=%25zz");
}

#[tokio::test]
async fn any_configured_token_and_public_url_is_accepted() {
    let tokens = format!("retired, {AUTH_TOKEN}");
    let urls = format!("https://old.example.com,{BASE_URL}/");
    let mut world = World::with(&[("TWILIO_AUTH_TOKEN", tokens), ("PUBLIC_WEBHOOK_BASE_URL", urls)]).await;
    let parameters = [("MessageSid", "SM1")];
    for (token, base_url) in [
        (AUTH_TOKEN, BASE_URL),
        ("retired", BASE_URL),
        ("retired", "https://old.example.com"),
        (AUTH_TOKEN, "https://old.example.com:443"),
    ] {
        let webhook = Webhook::form(PATH, "MessageSid=SM1").signed_with(token, base_url, &parameters);
        assert_accepted(&world.post(&webhook).await);
    }
}

/// The domain name of the function URL in the tests' events.
const FUNCTION_URL: &str = "https://r3pmxmplak.lambda-url.us-east-1.on.aws";

#[tokio::test]
async fn without_a_configured_base_url_a_webhook_must_be_signed_for_the_function_url() {
    let mut world = World::with(&[("PUBLIC_WEBHOOK_BASE_URL", String::new())]).await;
    let parameters = [("MessageSid", "SM1")];
    let signed_for = |base: &str| {
        Webhook::form(PATH, "MessageSid=SM1").query("x=1").signed_with(AUTH_TOKEN, base, &parameters)
    };
    assert_accepted(&world.post(&signed_for(FUNCTION_URL)).await);
    for base in ["https://evil.example", "http://r3pmxmplak.lambda-url.us-east-1.on.aws", ""] {
        // Neither header is trusted, although a client can set both to the host that it has a signature for.
        let webhook =
            signed_for(base).header("host", "evil.example").header("x-forwarded-host", "evil.example");
        assert_eq!(world.post(&webhook).await["statusCode"], 403, "{base}");
    }
    let mut nameless = signed_for("https://").event();
    for name in [json!(""), Value::Null] {
        nameless["requestContext"]["domainName"] = name;
        assert_eq!(world.function.call(nameless.clone()).await["statusCode"], 403);
    }
    assert_eq!(world.sqs.sent().len(), 1);
}

#[tokio::test]
async fn a_status_callback_at_this_url_goes_to_its_own_queue_and_is_logged() {
    let mut world = World::start().await;
    let parameters = [
        ("MessageSid", "SM1"),
        ("SmsSid", "SM1"),
        ("SmsStatus", "delivered"),
        ("MessageStatus", "delivered"),
        ("From", "+18605550100"),
        ("To", "+12035550100"),
    ];
    let body = "MessageSid=SM1&SmsSid=SM1&SmsStatus=delivered&MessageStatus=delivered&From=%2B18605550100\
                &To=%2B12035550100";
    for path in [PATH, "/webhook/twilio/status"] {
        let webhook = Webhook::form(path, body).query("message_id=1").signed(&parameters);
        assert_accepted(&world.post(&webhook).await);
    }
    let sent = world.sqs.sent();
    let queues: Vec<&str> = sent.iter().map(|sent| sent.queue_url.as_str()).collect();
    assert_eq!(queues, [world.sqs.queue("status"), world.sqs.queue("status")]);
    assert_eq!((&sent[0].body["form"], &sent[0].body["query"]), (&json!(body), &json!("message_id=1")));
    world.logged("a metric", |line| line["webhooks_misrouted"] == 1.0).await;
    world.logged("a warning", |line| line["level"] == "WARN" && line["kind"] == "Status").await;

    world.sqs.behave(Behaviour::Fails);
    let webhook = Webhook::form(PATH, body).signed(&parameters);
    assert_eq!(world.post(&webhook).await["statusCode"], 503, "the callback was not stored");
}

#[tokio::test]
async fn a_misrouted_callback_is_spooled_for_its_own_queue() {
    let database = Database::create().await;
    let mut world = World::with(&[("DATABASE_URL", database.url())]).await;
    world.sqs.behave(Behaviour::Fails);
    let parameters = [("MessageSid", "SM1"), ("MessageStatus", "sent")];
    let webhook = Webhook::form(PATH, "MessageSid=SM1&MessageStatus=sent").signed(&parameters);
    assert_accepted(&world.post(&webhook).await);
    assert_eq!(database.scalar("select string_agg(queue, ',') from webhook_spool").await, "status");
}

#[tokio::test]
async fn a_path_with_a_prefix_or_a_trailing_slash_is_accepted() {
    let mut world = World::start().await;
    for path in ["/prod/webhook/twilio/sms", "/webhook/twilio/sms/"] {
        let webhook = Webhook::form(path, "MessageSid=SM1").signed(&[("MessageSid", "SM1")]);
        assert_accepted(&world.post(&webhook).await);
    }
    let prefixed = format!("{BASE_URL}/prefix");
    let mut world = World::with(&[("PUBLIC_WEBHOOK_BASE_URL", prefixed.clone())]).await;
    let webhook = Webhook::form(PATH, "MessageSid=SM1");
    let webhook = webhook.signed_with(AUTH_TOKEN, &prefixed, &[("MessageSid", "SM1")]);
    assert_accepted(&world.post(&webhook).await);
}

#[tokio::test]
async fn the_callers_request_id_is_queued_and_returned() {
    let mut world = World::start().await;
    let reply = world.post(&hello().header("x-request-id", "trace-7")).await;
    assert_eq!(reply["headers"]["x-request-id"], "trace-7");
    assert_eq!(world.sqs.sent()[0].request_id.as_deref(), Some("trace-7"));
}

#[tokio::test]
async fn a_webhook_makes_one_call_to_sqs_and_none_to_postgres() {
    let mut world = World::start().await;
    for _ in 0..5 {
        assert_accepted(&world.post(&hello()).await);
    }
    assert_eq!(world.sqs.sent().len(), 5);
    assert!(world.postgres.accept().is_err(), "a connection was opened");
}

#[tokio::test]
async fn without_sqs_and_postgres_the_webhook_is_503_until_sqs_recovers() {
    let unreachable = ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x".to_owned());
    let mut world = World::with(&[unreachable]).await;
    world.sqs.behave(Behaviour::Fails);
    let reply = world.post(&hello()).await;
    assert_eq!(reply["statusCode"], 503, "{reply}");
    let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "sms.unavailable");
    assert_eq!(body["error"]["request_id"], GATEWAY_REQUEST_ID);
    assert!(!reply.to_string().contains("hunter2"));
    world.sqs.behave(Behaviour::Accepts);
    assert_accepted(&world.post(&hello()).await);
    let metrics = world.logged("a metric", |line| line["webhooks_unavailable"] == 1.0).await;
    assert_eq!(metrics["service"], "inbound-sms");
}

#[tokio::test]
async fn a_webhook_that_sqs_does_not_accept_in_time_is_spooled_unchanged() {
    let database = Database::create().await;
    let mut world = World::start().await;
    assert_accepted(&world.post(&hello()).await);
    let as_queued = world.sqs.sent().remove(0).body;
    let budget = ("SQS_SEND_BUDGET_MS", "200".to_owned());
    let mut world = World::with(&[("DATABASE_URL", database.url()), budget]).await;
    for behaviour in [Behaviour::Fails, Behaviour::Hangs] {
        world.sqs.behave(behaviour);
        assert_accepted(&world.post(&hello()).await);
    }
    let spooled = "select json_agg(json_build_array(queue, request_id, message) order by created_at) \
        from webhook_spool";
    let spooled: Value = serde_json::from_str(&database.scalar(spooled).await).unwrap();
    assert_eq!(spooled.as_array().unwrap().len(), 2, "{spooled}");
    for row in spooled.as_array().unwrap() {
        assert_eq!((&row[0], &row[1]), (&json!("inbound"), &json!(GATEWAY_REQUEST_ID)));
        assert_eq!((&row[2]["version"], &row[2]["form"]), (&as_queued["version"], &as_queued["form"]));
    }
    world.logged("a metric", |line| line["webhooks_spooled"] == 1.0).await;
    assert_eq!(world.function.metric_of("errors", "sqs_failed").await, 1.0);
}

#[tokio::test]
async fn a_failed_spool_insert_is_503() {
    let database = Database::create().await;
    let mut world = World::with(&[("DATABASE_URL", database.url())]).await;
    world.sqs.behave(Behaviour::Fails);
    database.client.batch_execute("alter table webhook_spool rename to elsewhere").await.unwrap();
    assert_eq!(world.post(&hello()).await["statusCode"], 503);
    database.client.batch_execute("alter table elsewhere rename to webhook_spool").await.unwrap();
    assert_accepted(&world.post(&hello()).await);
}

#[tokio::test]
async fn dependencies_that_do_not_respond_are_limited_by_their_budgets() {
    let budgets = [("SQS_SEND_BUDGET_MS", "200".to_owned()), ("SPOOL_WRITE_BUDGET_MS", "200".to_owned())];
    // A Postgres that accepts connections and does not respond.
    let mut world = World::with(&budgets).await;
    world.sqs.behave(Behaviour::Hangs);
    let before = Instant::now();
    let reply = world.post(&hello()).await;
    assert_eq!(reply["statusCode"], 503, "{reply}");
    // Without budgets SQS alone would take that long, and Postgres twice as long.
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
    assert!(world.postgres.accept().is_ok(), "the spool was tried");
}

#[tokio::test]
async fn the_log_contains_no_text_number_or_secret() {
    let mut world = World::start().await;
    world.post(&hello()).await;
    world.post(&hello().header("x-twilio-signature", "wrong")).await;
    world.sqs.behave(Behaviour::Fails);
    world.post(&hello()).await;
    world.logged("a metric", |line| line["webhooks_unavailable"] == 1.0).await;
    let log = json!(world.function.log().await).to_string();
    for secret in ["hello there", "hello+there", "12035550100", AUTH_TOKEN, "hunter2"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let environment = [
        ("PUBLIC_WEBHOOK_BASE_URL", "sms.example.com".to_owned()),
        ("INBOUND_QUEUE_URL", "http://127.0.0.1:1/inbound".to_owned()),
        ("SQS_SEND_BUDGET_MS", "soon".to_owned()),
    ];
    let log = json!(start(&environment).await.ended().await).to_string();
    for name in ["TWILIO_AUTH_TOKEN", "PUBLIC_WEBHOOK_BASE_URL", "SQS_SEND_BUDGET_MS", "DATABASE_URL"] {
        assert!(log.contains(name), "{name} in {log}");
    }
    assert!(!log.contains("INBOUND_QUEUE_URL"), "{log}");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<inbound_sms::Config>("inbound-sms", Duration::ZERO, environment::WEBHOOK);
}
