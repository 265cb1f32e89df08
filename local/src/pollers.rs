//! Event source mappings: what Lambda's pollers do between a queue and a function.
//!
//! They speak to SQS over the wire, whichever server that is, and treat failures as Lambda does: a failed
//! invocation deletes nothing, a partial failure leaves its records to the visibility timeout.

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

/// SQS's longest long poll.
const LONG_POLL_SECONDS: i32 = 20;
/// SQS's most messages of one receive, and of one delete.
const SQS_BATCH: usize = 10;
/// Invocations at once of a mapping without `MaximumConcurrency`; Lambda would begin with five pollers and grow.
const DEFAULT_CONCURRENCY: usize = 10;
/// The pause while the queue's server is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
/// How often a delete is tried: what stays undeleted is delivered again.
const DELETE_TRIES: u32 = 3;
/// What a record costs in an event beside its body, at most: keeps an event under the payload limit.
const RECORD_OVERHEAD_BYTES: usize = 4096;

/// How servers spell that there is no such queue: in SQS's JSON protocol, and as its older query protocol had it.
const LOST_QUEUE: [&str; 2] = ["QueueDoesNotExist", "NonExistentQueue"];

/// Why nothing was received.
struct ReceiveError {
    is_lost_queue: bool,
    text: String,
}

/// One running mapping.
#[derive(Debug)]
pub(crate) struct Poller {
    pub spec: MappingSpec,
    pub queue_url: String,
    /// All queues of the template, to make them again on a server that has lost them.
    pub queues: Arc<[QueueSpec]>,
    pub client: Client,
    pub functions: Arc<Functions>,
    pub region: String,
}

impl Poller {
    /// Polls until it is dropped.
    pub(crate) async fn run(self) {
        let poller = Arc::new(self);
        let slots = Arc::new(Semaphore::new(poller.spec.concurrency.unwrap_or(DEFAULT_CONCURRENCY)));
        let mut is_away = false;
        // Only one batch is gathered at a time; as many are worked on as the mapping allows.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match poller.gather().await {
                Ok(batch) => {
                    is_away = false;
                    tokio::spawn({
                        let poller = poller.clone();
                        async move {
                            for batch in poller.sized(batch) {
                                poller.deliver(batch).await;
                            }
                            drop(slot);
                        }
                    });
                }
                Err(error) => {
                    if !is_away {
                        poller.note(&format!("cannot receive, trying on: {}", error.text));
                    }
                    is_away = true;
                    tokio::time::sleep(AWAY_PAUSE).await;
                    if error.is_lost_queue {
                        poller.make_queues_again().await;
                    }
                }
            }
        }
    }

    /// Receives at least one message, then more until the batch is full or the window over.
    async fn gather(&self) -> Result<Vec<Message>, ReceiveError> {
        let mut batch = self.receive(LONG_POLL_SECONDS, self.spec.batch_size).await?;
        let until = Instant::now() + self.spec.window;
        while !batch.is_empty() && batch.len() < self.spec.batch_size {
            // SQS waits in whole seconds: a shorter rest of the window is not waited for.
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

    /// A server that keeps its queues in memory, as emulators do, comes back without them.
    async fn make_queues_again(&self) {
        match queues::create(&self.client, &self.queues).await {
            Ok(_) => self.note("the server had lost its queues: they are made again"),
            Err(error) => self.note(&error.to_string()),
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
                is_lost_queue: error
                    .code()
                    .is_some_and(|code| LOST_QUEUE.iter().any(|lost| code.ends_with(lost))),
                text: DisplayErrorContext(error).to_string(),
            })?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Splits a batch whose event would be over Lambda's payload limit.
    fn sized(&self, batch: Vec<Message>) -> Vec<Vec<Message>> {
        let mut batches: Vec<Vec<Message>> = Vec::new();
        let mut size = usize::MAX;
        for message in batch {
            // Escaping may make a body longer, at most to twice its size for what functions send: JSON.
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
            Ok(answer) => successes(&batch, &answer, self.spec.reports_failures),
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
        for attempt in 1..=DELETE_TRIES {
            let request = self.client.delete_message_batch().queue_url(&self.queue_url);
            match request.set_entries(Some(entries.clone())).send().await {
                Ok(output) if output.failed().is_empty() => return,
                Ok(output) => self.note(&format!("{} messages could not be deleted", output.failed().len())),
                Err(error) => self.note(&format!("cannot delete: {}", DisplayErrorContext(error))),
            }
            if attempt < DELETE_TRIES {
                tokio::time::sleep(AWAY_PAUSE).await;
            }
        }
    }

    /// A record as Lambda gives it to a function.
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

    fn note(&self, text: &str) {
        // Nothing is to be done where there is no standard error.
        let _ = writeln!(std::io::stderr(), "[{} → {}] {text}", self.spec.queue, self.spec.function);
    }
}

/// Which messages of an invocation that did not fail are done with.
///
/// After "Handling errors for an SQS event source in Lambda": an empty or null answer or list is a success, an
/// answer that cannot be read, or an entry whose `itemIdentifier` is empty, null, misspelt or unknown, a failure
/// of the whole batch.
fn successes<'m>(batch: &'m [Message], answer: &[u8], reports_failures: bool) -> Vec<&'m Message> {
    let all = || batch.iter().collect();
    if !reports_failures || answer.is_empty() {
        return all();
    }
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Vec::new() };
    let failures = match answer.get("batchItemFailures") {
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

    fn done(answer: &str, reports_failures: bool) -> Vec<String> {
        let batch: Vec<Message> = ["a", "b"].map(|id| Message::builder().message_id(id).build()).into();
        let done = successes(&batch, answer.as_bytes(), reports_failures);
        done.into_iter().filter_map(Message::message_id).map(str::to_owned).collect()
    }

    #[test]
    fn a_partial_batch_response_is_read_as_lambda_reads_it() {
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
            (r#"{"batchItemFailures":[{"itemIdentifier":"of another batch"}]}"#, vec![]),
            ("not JSON", vec![]),
        ];
        for (answer, expected) in cases {
            assert_eq!(done(answer, true), expected, "{answer}");
        }
    }

    #[test]
    fn without_partial_batch_responses_any_answer_is_a_success() {
        assert_eq!(done(r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, false), ["a", "b"]);
    }
}
