//! A batch of SQS records. Each record is decoded separately, so that an unreadable one does not fail the others.

use super::message::{ReadError, Versioned, read};
use super::spans::BatchSpans;
use crate::runtime;
use crate::telemetry::{self, Metric, traces};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::Timestamp;
use std::collections::HashMap;
use std::convert::Infallible;

/// A decoded record.
#[derive(Debug)]
pub struct Record<M> {
    /// SQS's message id, for the partial batch response.
    pub sqs_message_id: String,
    /// The request id from the message attribute, or else SQS's message id.
    pub request_id: String,
    /// The message.
    pub message: M,
}

/// The records of one invocation and the failed ones among them.
#[derive(Debug)]
pub struct Batch<M> {
    /// The decoded records in the received order.
    pub records: Vec<Record<M>>,
    /// The receipt handles by SQS message id.
    receipt_handles: HashMap<String, String>,
    failures: Vec<String>,
    poison: Vec<String>,
    /// The number of poison messages; [`Batch::poison`] has those with a receipt handle.
    poisoned: usize,
}

impl<M: Versioned> Batch<M> {
    /// Decodes a batch. Logs unreadable records and marks them as failed.
    ///
    /// A record with an unknown version becomes visible again after the visibility timeout: during a deployment,
    /// producers can be newer than consumers for some minutes.
    #[must_use]
    pub fn decode(event: SqsEvent) -> Self {
        let mut batch = Self {
            records: Vec::with_capacity(event.records.len()),
            receipt_handles: HashMap::new(),
            failures: Vec::new(),
            poison: Vec::new(),
            poisoned: 0,
        };
        let now = crate::clock::now();
        for mut record in event.records {
            let sqs_message_id = record.message_id.clone().unwrap_or_default();
            if let Some(handle) = record.receipt_handle.take() {
                batch.receipt_handles.insert(sqs_message_id.clone(), handle);
            }
            let request_id = request_id(&record).unwrap_or(&sqs_message_id).to_owned();
            let sent_at = sent_at(&record);
            match read::<M>(record.body.as_deref().unwrap_or_default()) {
                Ok(message) => {
                    if let Some(since) = message.due_at().max(sent_at) {
                        telemetry::record(Metric::QueueAge, now.duration_since(since).as_secs_f64().max(0.0));
                    }
                    batch.records.push(Record { sqs_message_id, request_id, message });
                }
                Err(error @ ReadError::UnknownVersion) => {
                    batch.fail(&sqs_message_id, &request_id, &error);
                }
                Err(error) => batch.fail_permanently(&sqs_message_id, &request_id, &error),
            }
        }
        batch
    }
}

impl<M> Batch<M> {
    /// Marks a record as failed. It becomes visible again after the visibility timeout, and moves to the dead-letter
    /// queue after the maximum receive count.
    pub fn fail(
        &mut self,
        sqs_message_id: &str,
        request_id: &str,
        error: &(dyn std::error::Error + 'static),
    ) {
        let error = crate::error::chain(error);
        tracing::error!(request_id, sqs_message_id, error, "queue record failed");
        self.failures.push(sqs_message_id.to_owned());
    }

    /// Marks a record as a poison message, which fails on each attempt.
    pub fn fail_permanently(
        &mut self,
        sqs_message_id: &str,
        request_id: &str,
        error: &(dyn std::error::Error + 'static),
    ) {
        self.fail(sqs_message_id, request_id, error);
        self.poisoned += 1;
        self.poison.extend(self.receipt_handles.get(sqs_message_id).cloned());
    }

    /// Returns the receipt handles of the poison messages, for
    /// [`Publisher::make_visible`](super::Publisher::make_visible).
    #[must_use]
    pub fn poison(&self) -> &[String] {
        &self.poison
    }

    /// Returns the partial batch response.
    #[must_use]
    pub fn into_response(self) -> SqsBatchResponse {
        telemetry::count(Metric::RecordsFailed, self.failures.len());
        telemetry::count_outcome(Metric::Errors, "record_poison", self.poisoned);
        telemetry::count_outcome(Metric::Errors, "record_failed", self.failures.len() - self.poisoned);
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = self.failures.into_iter().map(failure).collect();
        response
    }
}

fn failure(item_identifier: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = item_identifier;
    failure
}

/// Returns when the record was sent.
fn sent_at(record: &SqsMessage) -> Option<Timestamp> {
    let millisecond = record.attributes.get("SentTimestamp")?.parse().ok()?;
    Timestamp::from_millisecond(millisecond).ok()
}

fn request_id(record: &SqsMessage) -> Option<&str> {
    record.message_attributes.get(super::REQUEST_ID)?.string_value.as_deref()
}

/// Processes SQS batches until the process ends.
///
/// The handler gets the decoded batch and returns it with the failed records marked.
///
/// # Errors
///
/// Errors of the runtime itself, such as an unavailable Runtime API. The process should exit.
pub async fn run<M: Versioned + 'static>(
    handler: impl AsyncFn(Batch<M>) -> Batch<M> + 'static,
) -> Result<(), lambda_runtime::Error> {
    runtime::run(async move |event| {
        let spans = traces::is_on().then(|| BatchSpans::start(&event.payload));
        let work = async { handler(Batch::decode(event.payload)).await.into_response() };
        let response = match spans {
            None => work.await,
            Some(mut spans) => {
                let response = spans.wrap(work).await;
                spans.end(&response);
                response
            }
        };
        Ok::<_, Infallible>(response)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::DispatchMessage;
    use serde_json::json;

    #[test]
    fn an_unreadable_record_fails_alone() {
        let id = uuid::Uuid::nil();
        let event: SqsEvent = serde_json::from_value(json!({"Records": [
            {"messageId": "a", "body": "not ours", "receiptHandle": "handle-a"},
            {"messageId": "b", "receiptHandle": "handle-b",
                "body": json!({"version": "1", "message_id": id}).to_string(),
             "messageAttributes": {"request_id": {"dataType": "String", "stringValue": "r-1"}}},
            {"messageId": "c"},
            {"messageId": "d", "body": json!({"version": "9", "message_id": id}).to_string(),
             "receiptHandle": "handle-d"},
        ]}))
        .unwrap();
        let batch = Batch::<DispatchMessage>::decode(event);
        assert_eq!(batch.records.len(), 1);
        assert_eq!(batch.records[0].request_id, "r-1");
        assert_eq!(batch.poison(), ["handle-a"], "a newer version is not poison");
        let failed: Vec<_> =
            batch.into_response().batch_item_failures.into_iter().map(|f| f.item_identifier).collect();
        assert_eq!(failed, ["a", "c", "d"]);
    }
}
