//! The Runtime API with a real `lambda_runtime` binary.

use std::time::{Duration, Instant};

use futures::future::join_all;
use local::lambda::{InvokeError, WhenBusy};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Lambda, eventually};

#[tokio::test]
async fn an_event_is_answered_with_what_lambda_tells_a_function() {
    let lambda = Lambda::with(&[("OWN", "value")]);
    let answer = lambda.invoke(r#"{"hello":"world"}"#).await.unwrap();
    assert_eq!(answer["event"], json!({ "hello": "world" }));
    assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:000000000000:function:echo");
    let deadline = answer["deadline"].as_i64().unwrap();
    let left = deadline - i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms of a minute are left");
    let environment = &answer["environment"];
    assert_eq!(environment["OWN"], "value");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "echo");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(environment["HOME"], Value::Null, "nothing of the machine's own leaks in");
}

#[tokio::test]
async fn a_process_is_kept_warm_and_takes_one_event_at_a_time() {
    let lambda = Lambda::start();
    let first = lambda.invoke("{}").await.unwrap();
    eventually("it rests", async || {
        (lambda.invoke("{}").await.unwrap()["pid"] == first["pid"]).then_some(())
    })
    .await;
    let together = join_all((0..3).map(|_| lambda.invoke(r#"{"do":"sleep"}"#))).await;
    let mut pids: Vec<_> =
        together.into_iter().map(|answer| answer.unwrap()["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3, "three events at once need three processes");
}

#[tokio::test]
async fn a_crash_is_reported_as_lambda_does_and_the_process_replaced() {
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
async fn a_function_that_overruns_is_killed_and_reported() {
    let lambda = Lambda::hasty();
    let begun = Instant::now();
    let error = lambda.invoke(r#"{"do":"hang"}"#).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(error["errorType"], "Sandbox.Timedout");
    assert!(
        error["errorMessage"].as_str().unwrap().ends_with("Task timed out after 2.00 seconds"),
        "{error}"
    );
    assert!(lambda.pids().is_empty());
    eventually("the next is in time", async || lambda.invoke("{}").await.ok()).await;
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_take_the_time_limit_with_it() {
    let lambda = Lambda::hasty();
    let invoked = lambda.functions.invoke("echo", r#"{"do":"hang"}"#.into(), WhenBusy::Wait);
    assert!(tokio::time::timeout(Duration::from_millis(500), invoked).await.is_err());
    assert_eq!(lambda.pids().len(), 1);
    eventually("it is killed", async || lambda.pids().is_empty().then_some(())).await;
}

#[tokio::test]
async fn an_error_of_the_function_is_handed_on_and_the_process_kept() {
    let lambda = Lambda::start();
    let error = lambda.invoke(r#"{"do":"error"}"#).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().contains("ordered to fail"));
    assert_eq!(lambda.pids().len(), 1);
}

#[tokio::test]
async fn a_function_that_cannot_start_fails_each_invocation() {
    let lambda = Lambda::with(&[("FIXTURE_FAILS_AT_START", "1")]);
    for _ in 0..2 {
        let error = lambda.invoke("{}").await.unwrap_err();
        assert_eq!(error["errorType"], "Runtime.ExitError");
        assert!(error["errorMessage"].as_str().unwrap().ends_with("exit status 3"), "{error}");
    }
}

#[tokio::test]
async fn an_idle_process_that_is_killed_costs_no_event() {
    let lambda = Lambda::start();
    lambda.invoke("{}").await.unwrap();
    let pid = lambda.pids()[0];
    let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(process, Signal::KILL).unwrap();
    eventually("it is gone", async || lambda.pids().is_empty().then_some(())).await;
    assert_ne!(lambda.invoke("{}").await.unwrap()["pid"], pid);
}

#[tokio::test]
async fn an_answer_over_six_megabytes_is_refused() {
    let lambda = Lambda::start();
    let error = lambda.invoke(r#"{"do":"large"}"#).await.unwrap_err();
    assert_eq!(error["errorType"], "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn reserved_concurrency_throttles_the_hasty_and_lets_the_patient_wait() {
    let lambda = Lambda::start();
    let order = || r#"{"do":"sleep"}"#.into();
    let hasty = join_all((0..5).map(|_| lambda.functions.invoke("work", order(), WhenBusy::Throttle))).await;
    let throttled = hasty.iter().filter(|outcome| matches!(outcome, Err(InvokeError::Throttled))).count();
    assert_eq!(throttled, 3, "two of five run");
    let patient = join_all((0..5).map(|_| lambda.functions.invoke("work", order(), WhenBusy::Wait))).await;
    assert!(patient.iter().all(Result::is_ok));
    assert_eq!(lambda.functions.get("work").unwrap().pids().len(), 2);
}

#[tokio::test]
async fn metrics_are_gathered_from_the_functions_output() {
    let lambda = Lambda::start();
    lambda.invoke(r#"{"do":"metric"}"#).await.unwrap();
    lambda.invoke(r#"{"do":"metric"}"#).await.unwrap();
    let text = eventually("both are read", async || {
        let text = lambda.metrics.prometheus();
        text.contains("fixture_orders_taken_total{service=\"echo\"} 4").then_some(text)
    })
    .await;
    assert!(text.contains("# TYPE fixture_wait_milliseconds summary"), "{text}");
    assert!(text.contains("fixture_wait_milliseconds_sum{service=\"echo\"} 8"), "{text}");
    assert!(text.contains("fixture_wait_milliseconds_count{service=\"echo\"} 4"), "{text}");
    assert!(text.contains("lambda_invocations_total{function=\"echo\"} 2"), "{text}");
    assert!(lambda.log().contains("\"OrdersTaken\":2"), "the line is filed as well");
}

#[tokio::test]
async fn stopping_leaves_no_process() {
    let lambda = Lambda::start();
    join_all((0..3).map(|_| lambda.invoke(r#"{"do":"sleep"}"#))).await;
    assert_eq!(lambda.pids().len(), 3);
    lambda.functions.stop().await;
    assert!(lambda.pids().is_empty());
}
