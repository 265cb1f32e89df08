//! SQS batch events and the responses to them.

use serde_json::{Value, json};

/// Returns a batch of messages with these bodies. The message ids are `m-0`, `m-1` …, the request ids `r-0`, `r-1` …
/// They were sent two seconds ago.
#[must_use]
pub fn batch(bodies: &[Value]) -> Value {
    let sent_at = common::clock::now().as_millisecond() - 2_000;
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(position, body)| {
            json!({
                "messageId": format!("m-{position}"),
                "receiptHandle": format!("AQEB{position}"),
                "body": body.to_string(),
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": sent_at.to_string()},
                "messageAttributes": {
                    "request_id": {"stringValue": format!("r-{position}"), "dataType": "String"},
                },
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:queue",
                "awsRegion": "us-east-2",
            })
        })
        .collect();
    json!({ "Records": records })
}

/// Returns the ids of the messages that a response reports as failed, in order.
///
/// # Panics
///
/// If it is not a batch response.
#[must_use]
pub fn failed(response: &Value) -> Vec<&str> {
    let failures = response["batchItemFailures"].as_array().expect("a batch response");
    let mut failed: Vec<&str> =
        failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect();
    failed.sort_unstable();
    failed.dedup();
    failed
}
