//! A batch as SQS hands it to a consumer: each record is decoded alone, so that one that can't be read harms none
//! of its neighbours.

use super::message::{ReadError, Versioned, read};
use crate::runtime;
use crate::telemetry::{self, Metric};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use std::collections::HashMap;
use std::convert::Infallible;

/// A record that could be read.
#[derive(Debug)]
pub struct Record<M> {
    /// SQS's id of the message, to fail it by.
    pub sqs_message_id: String,
    /// The id that came with it from the webhook or the API; SQS's own where none did.
    pub request_id: String,
    /// What it says.
    pub message: M,
}

/// The records of one invocation, and those among them that failed.
#[derive(Debug)]
pub struct Batch<M> {
    /// The records that could be read, in the order of their arrival.
    pub records: Vec<Record<M>>,
    /// By which SQS knows that we have the records, by their ids.
    receipt_handles: HashMap<String, String>,
    failures: Vec<String>,
    hopeless: Vec<String>,
}

impl<M: Versioned> Batch<M> {
    /// Decodes a batch; what can't be read is logged and counted as failed already.
    ///
    /// A version that this build does not know comes back after the visibility timeout: during a deployment the writers may
    /// be newer than the readers for some minutes.
    #[must_use]
    pub fn decode(event: SqsEvent) -> Self {
        let mut batch = Self {
            records: Vec::with_capacity(event.records.len()),
            receipt_handles: HashMap::new(),
            failures: Vec::new(),
            hopeless: Vec::new(),
        };
        for mut record in event.records {
            let sqs_message_id = record.message_id.clone().unwrap_or_default();
            if let Some(handle) = record.receipt_handle.take() {
                batch.receipt_handles.insert(sqs_message_id.clone(), handle);
            }
            let request_id = request_id(&record).unwrap_or(&sqs_message_id).to_owned();
            match read(record.body.as_deref().unwrap_or_default()) {
                Ok(message) => batch.records.push(Record { sqs_message_id, request_id, message }),
                Err(error @ ReadError::UnknownVersion) => {
                    batch.fail(&sqs_message_id, &request_id, &error);
                }
                Err(error) => batch.fail_for_good(&sqs_message_id, &request_id, &error),
            }
        }
        batch
    }
}

impl<M> Batch<M> {
    /// Marks a record as failed: it comes back after the visibility timeout, and ends in the dead-letter queue
    /// when that has happened too often.
    pub fn fail(
        &mut self,
        sqs_message_id: &str,
        request_id: &str,
        error: &(dyn std::error::Error + 'static),
    ) {
        let error = crate::error::chain(error);
        tracing::error!(request_id, sqs_message_id, error, "the record failed");
        self.failures.push(sqs_message_id.to_owned());
    }

    /// Marks a record as failed, and as one that fails however often it comes back.
    pub fn fail_for_good(
        &mut self,
        sqs_message_id: &str,
        request_id: &str,
        error: &(dyn std::error::Error + 'static),
    ) {
        self.fail(sqs_message_id, request_id, error);
        self.hopeless.extend(self.receipt_handles.get(sqs_message_id).cloned());
    }

    /// Returns the receipt handles of the records that fail however often they come back, for
    /// [`Publisher::hand_out_again`](super::Publisher::hand_out_again).
    #[must_use]
    pub fn hopeless(&self) -> &[String] {
        &self.hopeless
    }

    /// Returns the answer to SQS.
    #[must_use]
    pub fn into_response(self) -> SqsBatchResponse {
        telemetry::count(Metric::RecordsFailed, self.failures.len());
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

fn request_id(record: &SqsMessage) -> Option<&str> {
    record.message_attributes.get(super::REQUEST_ID)?.string_value.as_deref()
}

/// Serves SQS batches until the process is ended.
///
/// The handler takes the decoded batch and gives it back with its failures marked.
///
/// # Errors
///
/// Only what ends the runtime itself, such as a Runtime API that went away.
pub async fn run<M: Versioned + 'static>(
    handler: impl AsyncFn(Batch<M>) -> Batch<M> + 'static,
) -> Result<(), lambda_runtime::Error> {
    runtime::run(async move |event| {
        let batch = handler(Batch::decode(event.payload)).await;
        Ok::<_, Infallible>(batch.into_response())
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
            {"messageId": "b", "receiptHandle": "handle-b", "body": json!({"version": "1", "message_id": id}).to_string(),
             "messageAttributes": {"request_id": {"dataType": "String", "stringValue": "r-1"}}},
            {"messageId": "c"},
            {"messageId": "d", "body": json!({"version": "9", "message_id": id}).to_string(),
             "receiptHandle": "handle-d"},
        ]}))
        .unwrap();
        let batch = Batch::<DispatchMessage>::decode(event);
        assert_eq!(batch.records.len(), 1);
        assert_eq!(batch.records[0].request_id, "r-1");
        assert_eq!(batch.hopeless(), ["handle-a"], "a newer version is not hopeless");
        let failed: Vec<_> =
            batch.into_response().batch_item_failures.into_iter().map(|f| f.item_identifier).collect();
        assert_eq!(failed, ["a", "c", "d"]);
    }
}
