//! Event source mappings: polls SQS queues and invokes functions with batches, as Lambda's pollers do.
//!
//! The pollers use SQS's wire protocol and work with any SQS server. They handle failures like Lambda: if an invocation
//! fails, no message is deleted; after a partial failure, the failed records become visible again after the visibility
//! timeout.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::lambda::{Functions, MAX_PAYLOAD_BYTES, WhenBusy};
use crate::stack::queues;
use crate::template::{ACCOUNT_ID, MappingSpec, QueueSpec};

/// SQS's maximum wait time for a long poll.
const LONG_POLL_SECONDS: i32 = 20;
/// SQS's maximum number of messages per receive and per delete.
const SQS_BATCH: usize = 10;
/// Concurrent invocations of a mapping without `MaximumConcurrency`. Lambda starts with five pollers and scales up.
const DEFAULT_CONCURRENCY: usize = 10;
/// The delay between attempts while the SQS server is unavailable.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The number of attempts to delete messages. Messages that are not deleted are delivered again.
const DELETE_ATTEMPTS: u32 = 3;
/// Upper bound of a record's size in an event without its body. Keeps events below the payload limit.
const RECORD_OVERHEAD_BYTES: usize = 4096;

/// The error codes for a missing queue: in SQS's JSON protocol, and in the older query protocol.
const MISSING_QUEUE_CODES: [&str; 2] = ["QueueDoesNotExist", "NonExistentQueue"];

/// A failed receive.
struct ReceiveError {
    is_missing_queue: bool,
    text: String,
}

/// A running event source mapping.
#[derive(Debug)]
pub(crate) struct Poller {
    pub spec: MappingSpec,
    pub queue_url: String,
    /// All queues of the template, to create them again on a server that has lost them.
    pub queues: Arc<[QueueSpec]>,
    pub client: Client,
    pub functions: Arc<Functions>,
    pub region: String,
}

impl Poller {
    /// Polls until the task is dropped.
    pub(crate) async fn run(self) {
        let poller = Arc::new(self);
        let slots = Arc::new(Semaphore::new(poller.spec.concurrency.unwrap_or(DEFAULT_CONCURRENCY)));
        let mut is_unavailable = false;
        // Collects one batch at a time and processes as many concurrently as the mapping allows.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match poller.gather().await {
                Ok(batch) => {
                    is_unavailable = false;
                    tokio::spawn({
                        let poller = poller.clone();
                        async move {
                            for batch in poller.split_by_size(batch) {
                                poller.deliver(batch).await;
                            }
                            drop(slot);
                        }
                    });
                }
                Err(error) => {
                    if !is_unavailable {
                        poller.log(&format!("receive failed, retrying: {}", error.text));
                    }
                    is_unavailable = true;
                    tokio::time::sleep(RETRY_DELAY).await;
                    if error.is_missing_queue {
                        poller.recreate_queues().await;
                    }
                }
            }
        }
    }

    /// Receives messages until the batch is full or the batching window has ended.
    async fn gather(&self) -> Result<Vec<Message>, ReceiveError> {
        let mut batch = self.receive(LONG_POLL_SECONDS, self.spec.batch_size).await?;
        let until = Instant::now() + self.spec.window;
        while !batch.is_empty() && batch.len() < self.spec.batch_size {
            // SQS waits in whole seconds. The rest of the window is slept below.
            let wait = until.saturating_duration_since(Instant::now()).as_secs();
            if self.spec.window.is_zero() || (wait == 0 && Instant::now() >= until) {
                break;
            }
            let wait = i32::try_from(wait).unwrap_or(LONG_POLL_SECONDS).min(LONG_POLL_SECONDS);
            let more = self.receive(wait, self.spec.batch_size - batch.len()).await?;
            if more.is_empty() && wait == 0 {
                tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
            }
            batch.extend(more);
        }
        Ok(batch)
    }

    /// Creates the queues again. An SQS server that keeps its queues in memory loses them when it restarts.
    async fn recreate_queues(&self) {
        match queues::create(&self.client, &self.queues).await {
            Ok(_) => self.log("the SQS server had lost its queues; created them again"),
            Err(error) => self.log(&error.to_string()),
        }
    }

    async fn receive(&self, wait_seconds: i32, most: usize) -> Result<Vec<Message>, ReceiveError> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(i32::try_from(most.min(SQS_BATCH)).unwrap_or(1))
            .wait_time_seconds(wait_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|error| ReceiveError {
                is_missing_queue: error
                    .code()
                    .is_some_and(|code| MISSING_QUEUE_CODES.iter().any(|missing| code.ends_with(missing))),
                text: DisplayErrorContext(error).to_string(),
            })?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Splits a batch whose event would exceed Lambda's payload limit.
    fn split_by_size(&self, batch: Vec<Message>) -> Vec<Vec<Message>> {
        let mut batches: Vec<Vec<Message>> = Vec::new();
        let mut size = usize::MAX;
        for message in batch {
            // Escaping at most doubles the size of the JSON bodies that the functions send.
            let own = message.body().unwrap_or_default().len() * 2 + RECORD_OVERHEAD_BYTES;
            size = size.saturating_add(own);
            match batches.last_mut() {
                Some(last) if size <= MAX_PAYLOAD_BYTES => last.push(message),
                _ => {
                    size = own;
                    batches.push(vec![message]);
                }
            }
        }
        batches
    }

    async fn deliver(&self, batch: Vec<Message>) {
        let records: Vec<Value> = batch.iter().map(|message| self.record(message)).collect();
        let event = json!({ "Records": records }).to_string();
        let done = match self.functions.invoke(&self.spec.function, event.into(), WhenBusy::Wait).await {
            Ok(response) => successes(&batch, &response, self.spec.reports_failures),
            Err(_) => Vec::new(),
        };
        for chunk in done.chunks(SQS_BATCH) {
            self.delete(chunk).await;
        }
    }

    async fn delete(&self, messages: &[&Message]) {
        let entries = messages.iter().enumerate().filter_map(|(index, message)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(message.receipt_handle()?).build().ok()
        });
        let entries: Vec<_> = entries.collect();
        for attempt in 1..=DELETE_ATTEMPTS {
            let request = self.client.delete_message_batch().queue_url(&self.queue_url);
            match request.set_entries(Some(entries.clone())).send().await {
                Ok(output) if output.failed().is_empty() => return,
                Ok(output) => self.log(&format!("{} messages could not be deleted", output.failed().len())),
                Err(error) => self.log(&format!("delete failed: {}", DisplayErrorContext(error))),
            }
            if attempt < DELETE_ATTEMPTS {
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Converts a message to a record of Lambda's SQS event.
    fn record(&self, message: &Message) -> Value {
        let attributes = message.attributes().into_iter().flatten();
        let attributes: BTreeMap<&str, &String> =
            attributes.map(|(name, value)| (name.as_str(), value)).collect();
        let mut message_attributes = Map::new();
        for (name, value) in message.message_attributes().into_iter().flatten() {
            let mut shown =
                json!({ "stringListValues": [], "binaryListValues": [], "dataType": value.data_type() });
            if let Some(text) = value.string_value() {
                shown["stringValue"] = text.into();
            }
            if let Some(binary) = value.binary_value() {
                shown["binaryValue"] = STANDARD.encode(binary.as_ref()).into();
            }
            message_attributes.insert(name.clone(), shown);
        }
        json!({
            "messageId": message.message_id(),
            "receiptHandle": message.receipt_handle(),
            "body": message.body(),
            "attributes": attributes,
            "messageAttributes": message_attributes,
            "md5OfBody": message.md5_of_body(),
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:{}:{ACCOUNT_ID}:{}", self.region, self.spec.queue),
            "awsRegion": self.region,
        })
    }

    fn log(&self, text: &str) {
        // A failed write to stderr cannot be reported anywhere.
        let _ = writeln!(std::io::stderr(), "[{} → {}] {text}", self.spec.queue, self.spec.function);
    }
}

/// Returns the messages that a successful invocation has processed.
///
/// According to "Handling errors for an SQS event source in Lambda", an empty or null response or list means success.
/// If the response is invalid, or an `itemIdentifier` is empty, null, misspelt or unknown, the whole batch has failed.
fn successes<'m>(batch: &'m [Message], response: &[u8], reports_failures: bool) -> Vec<&'m Message> {
    let all = || batch.iter().collect();
    if !reports_failures || response.is_empty() {
        return all();
    }
    let Ok(response) = serde_json::from_slice::<Value>(response) else { return Vec::new() };
    let failures = match response.get("batchItemFailures") {
        None | Some(Value::Null) => return all(),
        Some(Value::Array(failures)) => failures,
        Some(_) => return Vec::new(),
    };
    let ids: HashSet<&str> = batch.iter().filter_map(Message::message_id).collect();
    let mut failed = HashSet::new();
    for failure in failures {
        match failure.get("itemIdentifier").and_then(Value::as_str) {
            Some(id) if ids.contains(id) => failed.insert(id),
            _ => return Vec::new(),
        };
    }
    batch.iter().filter(|message| message.message_id().is_none_or(|id| !failed.contains(id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(response: &str, reports_failures: bool) -> Vec<String> {
        let batch: Vec<Message> = ["a", "b"].map(|id| Message::builder().message_id(id).build()).into();
        let done = successes(&batch, response.as_bytes(), reports_failures);
        done.into_iter().filter_map(Message::message_id).map(str::to_owned).collect()
    }

    #[test]
    fn partial_batch_responses_are_interpreted_like_lambda_does() {
        let all = vec!["a", "b"];
        let cases: [(&str, Vec<&str>); 12] = [
            ("", all.clone()),
            ("null", all.clone()),
            ("{}", all.clone()),
            (r#"{"batchItemFailures":null}"#, all.clone()),
            (r#"{"batchItemFailures":[]}"#, all.clone()),
            (r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, vec!["b"]),
            (r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}"#, vec![]),
            (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, vec![]),
            (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, vec![]),
            (r#"{"batchItemFailures":[{"id":"a"}]}"#, vec![]),
            (r#"{"batchItemFailures":[{"itemIdentifier":"unknown"}]}"#, vec![]),
            ("not JSON", vec![]),
        ];
        for (response, expected) in cases {
            assert_eq!(done(response, true), expected, "{response}");
        }
    }

    #[test]
    fn any_response_is_a_success_if_the_mapping_does_not_report_batch_item_failures() {
        assert_eq!(done(r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, false), ["a", "b"]);
    }
}
