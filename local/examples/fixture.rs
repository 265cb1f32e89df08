//! A function for the tests of the local stack. Its event, or the body of the first record, selects what it does.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var("FIXTURE_FAILS_AT_START").is_ok() {
        std::process::exit(3);
    }
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    let from_record = payload.pointer("/Records/0/body").and_then(Value::as_str);
    let from_http = payload.get("body").and_then(Value::as_str);
    let action = payload.get("do").and_then(Value::as_str).or(from_record).or(from_http).unwrap_or_default();
    match action {
        "crash" => std::process::exit(1),
        "abort" => std::process::abort(),
        "hang" => std::future::pending().await,
        // Long enough for concurrent invocations to overlap.
        "sleep" => tokio::time::sleep(Duration::from_millis(300)).await,
        "error" => return Err("requested error".into()),
        "good" | "fail" => return Ok(failures(&payload)),
        "garbage" => return Ok(json!({ "statusCode": "not a number" })),
        "large" => return Ok(json!("x".repeat(7 * 1024 * 1024))),
        "metric" => emit(),
        _ => {}
    }
    Ok(respond(&payload, &context))
}

/// Authorizes the key `right`, returns HTTP events in the body, and otherwise returns what the runtime provided.
fn respond(payload: &Value, context: &lambda_runtime::Context) -> Value {
    if payload.get("type").is_some_and(|kind| kind == "REQUEST") {
        let right = payload.pointer("/identitySource/0").is_some_and(|key| key == "Bearer right");
        let shared = json!({ "key_id": "7", "authorizer_request_id": context.request_id });
        return json!({ "isAuthorized": right, "context": shared });
    }
    if payload.get("routeKey").is_some() {
        let headers = json!({ "content-type": "application/json" });
        return json!({ "statusCode": 200, "headers": headers, "cookies": ["a=1", "b=2"], "body": payload.to_string() });
    }
    json!({
        "event": payload,
        "request_id": context.request_id,
        "deadline": context.deadline,
        "arn": context.invoked_function_arn,
        "pid": std::process::id(),
        "environment": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

/// Reports the records whose body is `fail` as failed.
fn failures(payload: &Value) -> Value {
    let records = payload["Records"].as_array().into_iter().flatten();
    let failed = records.filter(|record| record["body"] == "fail");
    let failures = failed.map(|record| json!({ "itemIdentifier": record["messageId"] }));
    json!({ "batchItemFailures": failures.collect::<Vec<_>>() })
}

#[expect(clippy::print_stdout, reason = "metrics are written to standard output")]
fn emit() {
    println!(
        "{}",
        json!({
            "_aws": { "Timestamp": 0, "CloudWatchMetrics": [{
                "Namespace": "SmsFoundation",
                "Dimensions": [["service"]],
                "Metrics": [
                    { "Name": "messages_stored", "Unit": "Count" },
                    { "Name": "twilio_create_latency", "Unit": "Milliseconds" },
                    { "Name": "spool_backlog", "Unit": "None" },
                    { "Name": "not_on_the_list", "Unit": "Count" },
                ],
            }, {
                "Namespace": "SmsFoundation",
                "Dimensions": [["service", "outcome"]],
                "Metrics": [{ "Name": "errors", "Unit": "Count" }],
            }] },
            "service": "echo",
            "outcome": "internal",
            "messages_stored": 2,
            "twilio_create_latency": [1.5, 2000.5],
            "spool_backlog": 7,
            "not_on_the_list": 1,
            "errors": 1,
        })
    );
}
