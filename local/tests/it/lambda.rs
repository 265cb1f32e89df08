//! Tests of the Runtime API with a real `lambda_runtime` binary.

use std::time::{Duration, Instant};

use futures::future::join_all;
use local::lambda::{InvokeError, WhenBusy};
use local::metrics::{Family, Format};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Lambda, eventually};

#[tokio::test]
async fn a_function_receives_the_event_context_and_environment() {
    let lambda = Lambda::with(&[("OWN", "value")]);
    let response = lambda.invoke(r#"{"hello":"world"}"#).await.unwrap();
    assert_eq!(response["event"], json!({ "hello": "world" }));
    assert_eq!(response["arn"], "arn:aws:lambda:us-east-1:000000000000:function:echo");
    let deadline = response["deadline"].as_i64().unwrap();
    let left = deadline - i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!((1..=60_000).contains(&left), "the remaining time must be at most a minute, not {left} ms");
    let environment = &response["environment"];
    assert_eq!(environment["OWN"], "value");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "echo");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(environment["HOME"], Value::Null, "variables of the machine must not be passed to functions");
}

#[tokio::test]
async fn a_process_is_reused_and_handles_one_event_at_a_time() {
    let lambda = Lambda::start();
    let first = lambda.invoke("{}").await.unwrap();
    eventually("the process is reused", async || {
        (lambda.invoke("{}").await.unwrap()["pid"] == first["pid"]).then_some(())
    })
    .await;
    let together = join_all((0..3).map(|_| lambda.invoke(r#"{"do":"sleep"}"#))).await;
    let mut pids: Vec<_> =
        together.into_iter().map(|response| response.unwrap()["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3, "three concurrent events need three processes");
}

#[tokio::test]
async fn a_crashed_process_is_reported_and_replaced() {
    let lambda = Lambda::start();
    let before = lambda.invoke("{}").await.unwrap();
    let error = lambda.invoke(r#"{"do":"crash"}"#).await.unwrap_err();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(
        message.starts_with("RequestId: ") && message.ends_with("Runtime exited with error: exit status 1")
    );
    let after = lambda.invoke("{}").await.unwrap();
    assert_ne!(before["pid"], after["pid"]);
    let error = lambda.invoke(r#"{"do":"abort"}"#).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().ends_with("signal: 6"), "{error}");
}

#[tokio::test]
async fn a_function_that_exceeds_its_timeout_is_killed_and_reported() {
    let lambda = Lambda::with_short_timeout();
    let begun = Instant::now();
    let error = lambda.invoke(r#"{"do":"hang"}"#).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(error["errorType"], "Sandbox.Timedout");
    assert!(
        error["errorMessage"].as_str().unwrap().ends_with("Task timed out after 2.00 seconds"),
        "{error}"
    );
    assert!(lambda.pids().is_empty());
    eventually("the next invocation succeeds", async || lambda.invoke("{}").await.ok()).await;
}

#[tokio::test]
async fn the_timeout_applies_after_the_caller_has_disconnected() {
    let lambda = Lambda::with_short_timeout();
    let invoked = lambda.functions.invoke("echo", r#"{"do":"hang"}"#.into(), WhenBusy::Wait);
    assert!(tokio::time::timeout(Duration::from_millis(500), invoked).await.is_err());
    assert_eq!(lambda.pids().len(), 1);
    eventually("the process is killed", async || lambda.pids().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_function_error_is_returned_and_the_process_is_kept() {
    let lambda = Lambda::start();
    let error = lambda.invoke(r#"{"do":"error"}"#).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().contains("requested error"));
    assert_eq!(lambda.pids().len(), 1);
}

#[tokio::test]
async fn each_invocation_of_a_function_that_cannot_start_fails() {
    let lambda = Lambda::with(&[("FIXTURE_FAILS_AT_START", "1")]);
    for _ in 0..2 {
        let error = lambda.invoke("{}").await.unwrap_err();
        assert_eq!(error["errorType"], "Runtime.ExitError");
        assert!(error["errorMessage"].as_str().unwrap().ends_with("exit status 3"), "{error}");
    }
}

#[tokio::test]
async fn no_event_is_lost_when_an_idle_process_is_killed() {
    let lambda = Lambda::start();
    lambda.invoke("{}").await.unwrap();
    let pid = lambda.pids()[0];
    let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(process, Signal::KILL).unwrap();
    eventually("the process has exited", async || lambda.pids().is_empty().then_some(())).await;
    assert_ne!(lambda.invoke("{}").await.unwrap()["pid"], pid);
}

#[tokio::test]
async fn a_response_over_six_megabytes_is_an_error() {
    let lambda = Lambda::start();
    let error = lambda.invoke(r#"{"do":"large"}"#).await.unwrap_err();
    assert_eq!(error["errorType"], "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn reserved_concurrency_throttles_or_queues_further_invocations() {
    let lambda = Lambda::start();
    let event = || r#"{"do":"sleep"}"#.into();
    let throttling =
        join_all((0..5).map(|_| lambda.functions.invoke("work", event(), WhenBusy::Throttle))).await;
    let throttled =
        throttling.iter().filter(|outcome| matches!(outcome, Err(InvokeError::Throttled))).count();
    assert_eq!(throttled, 3, "two of five run");
    let waiting = join_all((0..5).map(|_| lambda.functions.invoke("work", event(), WhenBusy::Wait))).await;
    assert!(waiting.iter().all(Result::is_ok));
    assert_eq!(lambda.functions.get("work").unwrap().pids().len(), 2);
}

#[tokio::test]
async fn metrics_are_collected_from_the_output_of_functions() {
    let lambda = Lambda::start();
    lambda.invoke(r#"{"do":"metric"}"#).await.unwrap();
    lambda.invoke(r#"{"do":"metric"}"#).await.unwrap();
    let text = eventually("both metrics are recorded", async || {
        let text = lambda.metrics.prometheus(Format::Text);
        text.contains("sms_foundation_messages_stored_total{service=\"echo\"} 4").then_some(text)
    })
    .await;
    for expected in [
        "# HELP sms_foundation_messages_stored_total Inbound messages stored, without duplicates.",
        "# TYPE sms_foundation_messages_stored_total counter",
        "# TYPE sms_foundation_twilio_create_latency_seconds histogram",
        "sms_foundation_twilio_create_latency_seconds_bucket{service=\"echo\",le=\"0.005\"} 2",
        "sms_foundation_twilio_create_latency_seconds_bucket{service=\"echo\",le=\"2.5\"} 4",
        "sms_foundation_twilio_create_latency_seconds_sum{service=\"echo\"} 4.004",
        "sms_foundation_twilio_create_latency_seconds_count{service=\"echo\"} 4",
        "sms_foundation_spool_backlog{service=\"echo\"} 7",
        "sms_foundation_errors_total{outcome=\"internal\",service=\"echo\"} 2",
        "lambda_invocations_total{function=\"echo\"} 2",
    ] {
        assert!(text.lines().any(|line| line.starts_with(expected)), "{expected} in {text}");
    }
    assert!(!text.contains("not_on_the_list"), "{text}");
    assert!(lambda.log().contains("\"messages_stored\":2"), "metric lines are also written to the log");
}

/// Reads the text in both formats with Prometheus's own parsers and prints each family with its type, unit and samples.
const PARSE: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic
texts = json.load(sys.stdin)
print(json.dumps([[
    [f.name, f.type, f.unit, f.documentation, sorted({s.name for s in f.samples})] for f in parse(text)
] for parse, text in zip((classic, openmetrics), texts)]))
";

#[tokio::test]
async fn prometheus_parsers_read_both_text_formats() {
    let Some(python) = testing::python("prometheus_parsers_read_both_text_formats") else { return };
    let lambda = Lambda::start();
    lambda.invoke(r#"{"do":"metric"}"#).await.unwrap();
    let texts = eventually("the metrics are recorded", async || {
        let texts = [Format::Text, Format::OpenMetrics].map(|format| lambda.metrics.prometheus(format));
        texts[0].contains("spool_backlog").then_some(texts)
    })
    .await;
    let mut parser = std::process::Command::new(python)
        .args(["-c", PARSE])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(parser.stdin.take().unwrap(), &texts).unwrap();
    let output = parser.wait_with_output().unwrap();
    let [classic, openmetrics]: [Vec<Value>; 2] = serde_json::from_slice(&output.stdout).unwrap();
    for (families, has_units) in [(&classic, false), (&openmetrics, true)] {
        let expected: Vec<Value> = Family::all()
            .into_iter()
            .filter(|family| texts[0].contains(&format!("\n{}", family.samples()[0])))
            .map(|family| {
                let unit = family.unit.filter(|_| has_units).unwrap_or_default();
                json!([family.name, family.kind.as_str(), unit, family.help, family.samples()])
            })
            .collect();
        assert!(expected.len() >= 6, "{expected:#?}");
        let mut families = families.clone();
        families.sort_by_key(Value::to_string);
        let mut expected = expected;
        expected.sort_by_key(Value::to_string);
        assert_eq!(families, expected);
    }
}

#[tokio::test]
async fn stop_ends_all_processes() {
    let lambda = Lambda::start();
    join_all((0..3).map(|_| lambda.invoke(r#"{"do":"sleep"}"#))).await;
    assert_eq!(lambda.pids().len(), 3);
    lambda.functions.stop().await;
    assert!(lambda.pids().is_empty());
}
