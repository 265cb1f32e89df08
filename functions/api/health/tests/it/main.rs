//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use testing::{ApiRequest, Behaviour, Database, Function, Sqs, body, environment, eventually, refusal};
use wiremock::matchers::{basic_auth, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const BINARY: &str = env!("CARGO_BIN_EXE_health");

struct World {
    sqs: Sqs,
    database: Database,
    twilio: MockServer,
    monitor: MockServer,
}

impl World {
    /// Starts with all dependencies available.
    async fn start() -> Self {
        let twilio = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/2010-04-01/Accounts/AC1/Messages.json"))
            .and(query_param("PageSize", "1"))
            .and(basic_auth("AC1", "token"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(json!({"messages": [], "next_page_uri": null})),
            )
            .mount(&twilio)
            .await;
        let monitor = MockServer::start().await;
        Self { sqs: Sqs::start().await, database: Database::create().await, twilio, monitor }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.database.url()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url().to_owned()),
            ("INBOUND_QUEUE_URL", self.sqs.queue("inbound")),
            ("STATUS_QUEUE_URL", self.sqs.queue("status")),
            ("OUTBOUND_QUEUE_URL", self.sqs.queue("outbound")),
            ("IDENTIFY_QUEUE_URL", self.sqs.queue("identify")),
            ("EVENTS_QUEUE_URL", self.sqs.queue("events")),
            ("SLOW_EVENTS_QUEUE_URL", self.sqs.queue("slow-events")),
            ("MEDIA_QUEUE_URL", self.sqs.queue("media")),
            ("TWILIO_ACCOUNT_SID", "AC1".to_owned()),
            ("TWILIO_AUTH_TOKEN", "token".to_owned()),
            ("TWILIO_API_BASE_URL", self.twilio.uri()),
            ("MONITOR_API_URL", self.monitor.uri()),
            // Most tests check the result and not the cache.
            ("HEALTH_CACHE_SECONDS", "0".to_owned()),
        ]
    }
}

async fn start(environment: &[(&'static str, String)]) -> Function {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::start(BINARY, &environment).await
}

fn get(query: &str) -> Value {
    ApiRequest::new("GET", "/health").unauthorized().query(query).event()
}

fn health(ok: bool, [db, queues, twilio, monitor]: [&str; 4]) -> Value {
    let partitions = if db == "failed" { "skipped" } else { db };
    json!({
        "ok": ok, "version": env!("CARGO_PKG_VERSION"),
        "checks": {"config": "ok", "db": db, "partitions": partitions, "queues": queues, "twilio": twilio,
            "monitor": monitor},
    })
}

/// Replaces a variable.
fn set(environment: &mut [(&'static str, String)], name: &str, value: &str) {
    environment.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value.to_owned();
}

#[tokio::test]
async fn a_deep_check_is_ok_when_all_dependencies_are_available() {
    let world = World::start().await;
    let mut function = start(&world.environment()).await;
    let reply = function.call(get("deep=true")).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    // A 404 of the Monitor for its base URL counts as available.
    assert_eq!(body(&reply), health(true, ["ok"; 4]));
}

#[tokio::test]
async fn a_missing_partition_fails_the_deep_check_and_its_table_is_logged() {
    let world = World::start().await;
    let month = "select to_char(now() at time zone 'UTC', 'YYYY_MM')";
    let drop = format!("drop table sms_events_{}", world.database.scalar(month).await);
    world.database.client.batch_execute(&drop).await.unwrap();
    let mut function = start(&world.environment()).await;
    let reply = function.call(get("deep=true")).await;
    assert_eq!(reply["statusCode"], 503, "{reply}");
    let checks = &body(&reply)["checks"];
    assert_eq!((&checks["db"], &checks["partitions"]), (&json!("ok"), &json!("failed")));
    let log = serde_json::to_string(&function.log().await).unwrap();
    assert!(log.contains("no partition for this month or the next: sms_events"), "{log}");
}

#[tokio::test]
async fn a_shallow_check_calls_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let address = silent.local_addr().unwrap();
    let world = World::start().await;
    let mut environment = world.environment();
    set(&mut environment, "DATABASE_URL", &format!("postgres://u@{address}/x"));
    for name in ["AWS_ENDPOINT_URL_SQS", "TWILIO_API_BASE_URL", "MONITOR_API_URL"] {
        set(&mut environment, name, &format!("http://{address}"));
    }
    let mut function = start(&environment).await;
    for query in ["", "deep=false", "x=1"] {
        let reply = function.call(get(query)).await;
        assert_eq!((&reply["statusCode"], body(&reply)), (&json!(200), health(true, ["skipped"; 4])));
    }
    assert!(silent.accept().is_err(), "a connection was opened");
}

#[tokio::test]
async fn a_failed_check_is_reported_and_its_cause_only_logged() {
    let world = World::start().await;
    for (variable, value, checks) in [
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x", ["failed", "ok", "ok", "ok"]),
        ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1", ["ok", "failed", "ok", "ok"]),
        ("TWILIO_AUTH_TOKEN", "hunter2", ["ok", "ok", "failed", "ok"]),
        ("MONITOR_API_URL", "http://u:hunter2@127.0.0.1:1/", ["ok", "ok", "ok", "failed"]),
    ] {
        let mut environment = world.environment();
        set(&mut environment, variable, value);
        let mut function = start(&environment).await;
        let reply = function.call(get("deep=true")).await;
        assert_eq!((&reply["statusCode"], body(&reply)), (&json!(503), health(false, checks)), "{variable}");
        let log = eventually("the cause in the log", async || {
            let log = function.log().await;
            log.iter().any(|line| line["message"] == "health check failed").then(|| json!(log).to_string())
        })
        .await;
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn a_broken_monitor_fails_and_an_unconfigured_one_does_not() {
    let world = World::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(502)).mount(&world.monitor).await;
    let reply = start(&world.environment()).await.call(get("deep=true")).await;
    assert_eq!(body(&reply), health(false, ["ok", "ok", "ok", "failed"]));
    let mut environment = world.environment();
    set(&mut environment, "MONITOR_API_URL", "");
    let reply = start(&environment).await.call(get("deep=true")).await;
    assert_eq!(
        (&reply["statusCode"], body(&reply)),
        (&json!(200), health(true, ["ok", "ok", "ok", "not_configured"]))
    );
}

#[tokio::test]
async fn dependencies_that_do_not_respond_cost_one_timeout_together() {
    let world = World::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut environment = world.environment();
    set(&mut environment, "DATABASE_URL", &format!("postgres://u@{address}/x"));
    for name in ["TWILIO_API_BASE_URL", "MONITOR_API_URL"] {
        set(&mut environment, name, &format!("http://{address}"));
    }
    world.sqs.behave(Behaviour::Hangs);
    environment.push(("HEALTH_CHECK_TIMEOUT_MS", "500".to_owned()));
    let mut function = start(&environment).await;
    eventually("a response after one timeout", async || {
        let before = Instant::now();
        let reply = function.call(get("deep=true")).await;
        assert_eq!(body(&reply), health(false, ["failed"; 4]));
        // Two timeouts take a second. On a slow machine some responses are late, but not all.
        (before.elapsed() < Duration::from_secs(1)).then_some(())
    })
    .await;
}

/// An SQS that counts its calls.
async fn counting_sqs() -> MockServer {
    let sqs = MockServer::start().await;
    Mock::given(method("POST"))
        .and(header("x-amz-target", "AmazonSQS.GetQueueAttributes"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Attributes": {}})))
        .mount(&sqs)
        .await;
    sqs
}

impl World {
    /// The environment with a cache and a counting SQS.
    fn cached(&self, sqs: &MockServer) -> Vec<(&'static str, String)> {
        let mut environment = self.environment();
        set(&mut environment, "HEALTH_CACHE_SECONDS", "3600");
        set(&mut environment, "AWS_ENDPOINT_URL_SQS", &sqs.uri());
        environment
    }

    /// The number of calls to SQS, Twilio and the Monitor.
    async fn requests(&self, sqs: &MockServer) -> [usize; 3] {
        let mut counts = [0; 3];
        for (count, peer) in counts.iter_mut().zip([sqs, &self.twilio, &self.monitor]) {
            *count = peer.received_requests().await.unwrap().len();
        }
        counts
    }
}

const SESSIONS: &str = "select count(*) from pg_stat_activity where datname = current_database() \
    and application_name = 'sms-foundation'";

#[tokio::test]
async fn a_hundred_deep_calls_check_each_dependency_once() {
    let (world, sqs) = (World::start().await, counting_sqs().await);
    let mut function = start(&world.cached(&sqs)).await;
    for _ in 0..100 {
        assert_eq!(body(&function.call(get("deep=true")).await), health(true, ["ok"; 4]));
    }
    assert_eq!(world.requests(&sqs).await, [7, 1, 1]);
    assert_eq!(world.database.scalar(SESSIONS).await, "1");
}

#[tokio::test]
async fn concurrent_deep_calls_to_many_instances_check_each_dependency_once() {
    let (mut world, sqs) = (World::start().await, counting_sqs().await);
    world.monitor = MockServer::start().await;
    // During the check the other instances poll for its result.
    let slow = ResponseTemplate::new(500).set_delay(Duration::from_millis(300));
    Mock::given(method("GET")).respond_with(slow).mount(&world.monitor).await;
    let mut environment = world.cached(&sqs);
    environment.push(("HEALTH_CHECK_TIMEOUT_MS", "30000".to_owned()));
    let mut instances = Vec::new();
    for _ in 0..10 {
        instances.push(start(&environment).await);
    }
    let mut calls = tokio::task::JoinSet::new();
    for mut function in instances {
        calls.spawn(async move {
            for _ in 0..10 {
                let reply = function.call(get("deep=true")).await;
                assert_eq!(body(&reply), health(false, ["ok", "ok", "ok", "failed"]));
            }
        });
    }
    calls.join_all().await;
    assert_eq!(world.requests(&sqs).await, [7, 1, 1]);
}

#[tokio::test]
async fn a_hundred_deep_calls_without_postgres_check_each_dependency_once() {
    let (world, sqs) = (World::start().await, counting_sqs().await);
    let mut environment = world.cached(&sqs);
    set(&mut environment, "DATABASE_URL", "postgres://u@127.0.0.1:1/x");
    let mut function = start(&environment).await;
    for _ in 0..100 {
        assert_eq!(body(&function.call(get("deep=true")).await), health(false, ["failed", "ok", "ok", "ok"]));
    }
    assert_eq!(world.requests(&sqs).await, [7, 1, 1]);
}

#[tokio::test]
async fn an_old_result_or_an_abandoned_check_causes_another_check() {
    let (world, sqs) = (World::start().await, counting_sqs().await);
    let environment = world.cached(&sqs);
    for (change, checks) in [
        ("update sms_health set claimed_at = now() - interval '1 day'", 1),
        ("update sms_health set checked_at = now() - interval '1 minute'", 1),
        ("update sms_health set checked_at = now() - interval '61 minutes'", 2),
        ("update sms_health set result = '{}'", 3),
    ] {
        world.database.client.batch_execute(change).await.unwrap();
        let reply = start(&environment).await.call(get("deep=true")).await;
        assert_eq!(body(&reply), health(true, ["ok"; 4]), "{change}");
        assert_eq!(world.requests(&sqs).await, [7 * checks, checks, checks], "{change}");
    }
}

#[tokio::test]
async fn deep_must_be_true_or_false() {
    let world = World::start().await;
    let mut function = start(&world.environment()).await;
    for query in ["deep", "deep=1", "deep=TRUE"] {
        let reply = function.call(get(query)).await;
        assert_eq!(refusal(&reply), "400 sms.validation_error\n  deep: must be true or false", "{query}");
    }
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let log = start(&[("MONITOR_API_URL", "monitor".to_owned())]).await.ended().await;
    let error = log.last().unwrap()["error"].as_str().unwrap().to_owned();
    assert_eq!(
        error,
        "invalid configuration: DATABASE_URL is missing; INBOUND_QUEUE_URL is missing; STATUS_QUEUE_URL is \
         missing; OUTBOUND_QUEUE_URL is missing; EVENTS_QUEUE_URL is missing; SLOW_EVENTS_QUEUE_URL is missing; \
         MEDIA_QUEUE_URL is missing; TWILIO_ACCOUNT_SID is missing; TWILIO_AUTH_TOKEN is missing; \
         MONITOR_API_URL is not a URL (relative URL without a base)"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<health::Config>("health", Duration::ZERO, &[("HEALTH_CHECK_TIMEOUT_MS", 1)]);
}
