//! Batches as SQS hands them to a function, and its answers.

use serde_json::{Value, json};

/// Returns a batch of messages with these bodies: `m-0`, `m-1` … of the requests `r-0`, `r-1` …
#[must_use]
pub fn batch(bodies: &[Value]) -> Value {
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(position, body)| {
            json!({
                "messageId": format!("m-{position}"),
                "receiptHandle": format!("AQEB{position}"),
                "body": body.to_string(),
                "attributes": {"ApproximateReceiveCount": "1"},
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

/// Returns the ids of the messages that an answer leaves on their queue, in order.
///
/// # Panics
///
/// When it is no answer to a batch.
#[must_use]
pub fn failed(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"].as_array().expect("an answer to a batch");
    let mut failed: Vec<&str> =
        failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect();
    failed.sort_unstable();
    failed.dedup();
    failed
}
