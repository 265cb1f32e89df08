//! Puts messages on queues, within a budget of time.

use super::client::{CallError, Client};
use crate::config::Env;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// SQS takes at most this many messages in one call (its quota).
const MAX_BATCH: usize = 10;

/// SQS takes at most this many bytes in one call, attributes included: 262,144, and 1 MiB since August 2025. Ten of the
/// largest webhooks are more than either, and a call that is too long is refused as a whole, again and again.
const MAX_BATCH_BYTES: usize = 262_144;

/// SQS holds a message back for at most this long (its quota).
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// How long a send may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherConfig {
    budget: Duration,
}

impl PublisherConfig {
    /// Reads `SQS_SEND_BUDGET_MS` (1000): all the time that a call to SQS may take, its retry included.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let budget = env.millis("SQS_SEND_BUDGET_MS", 1..=30_000, 1_000)?;
        Some(Self { budget })
    }
}

/// Why a message is not on its queue, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The message has no JSON form.
    #[error("writing the message as JSON")]
    Encode(#[source] serde_json::Error),
    /// SQS refused, or could not be reached.
    #[error("putting the message on its queue")]
    Refused(#[from] CallError),
    /// SQS did not answer within the budget: the message may be on the queue all the same.
    #[error("SQS did not answer within {} ms", .0.as_millis())]
    TooSlow(Duration),
}

/// Puts messages on queues.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    budget: Duration,
}

impl Publisher {
    /// Prepares a client; the first message opens the connection.
    ///
    /// What Lambda sets for every function is read here (`Client::new`).
    #[must_use]
    pub fn new(config: PublisherConfig) -> Self {
        Self { client: Client::new(), budget: config.budget }
    }

    /// Puts one message on a queue.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: after `TooSlow`, and after some of `Refused`, the message may be on the queue all the
    /// same, so whatever the caller does instead must be free of effect when done twice.
    pub async fn send(
        &self,
        queue_url: &str,
        message: &impl Serialize,
        request_id: &str,
    ) -> Result<(), PublishError> {
        self.send_later(queue_url, message, request_id, Duration::ZERO).await
    }

    /// Puts one message on a queue, which hands it over after a delay: of whole seconds, rounded up, and of at most
    /// [`MAX_DELAY`].
    ///
    /// # Errors
    ///
    /// As [`Publisher::send`].
    pub async fn send_later(
        &self,
        queue_url: &str,
        message: &impl Serialize,
        request_id: &str,
        delay: Duration,
    ) -> Result<(), PublishError> {
        let message = Message::new(None, message, request_id, delay)?;
        let _: Taken = self.call("SendMessage", queue_url, &SendMessage { queue_url, message }).await?;
        Ok(())
    }

    /// Puts messages on a queue, as many a call as SQS takes, and returns the positions of those that SQS did not take.
    ///
    /// # Errors
    ///
    /// [`PublishError`] for a call that failed as a whole; messages of earlier calls are on the queue by then.
    pub async fn send_all<M: Serialize>(
        &self,
        queue_url: &str,
        messages: &[(M, String)],
    ) -> Result<Vec<usize>, PublishError> {
        let at_once =
            messages.iter().map(|(message, request_id)| (message, request_id.as_str(), Duration::ZERO));
        self.send_entries(queue_url, entries(at_once)?).await
    }

    /// The same, with a delay for each message, as for [`Publisher::send_later`].
    ///
    /// # Errors
    ///
    /// As [`Publisher::send_all`].
    pub async fn send_all_later<M: Serialize>(
        &self,
        queue_url: &str,
        messages: &[(M, String, Duration)],
    ) -> Result<Vec<usize>, PublishError> {
        let later =
            messages.iter().map(|(message, request_id, delay)| (message, request_id.as_str(), *delay));
        self.send_entries(queue_url, entries(later)?).await
    }

    async fn send_entries(
        &self,
        queue_url: &str,
        entries: Vec<Message<'_>>,
    ) -> Result<Vec<usize>, PublishError> {
        let mut refused = Vec::new();
        for entries in calls(entries) {
            let batch = SendMessageBatch { queue_url, entries };
            let answer: BatchAnswer = self.call("SendMessageBatch", queue_url, &batch).await?;
            // What SQS says nothing of it has not taken either.
            let is_taken = |id: &String| answer.successful.iter().any(|taken| taken.id == *id);
            let others = batch.entries.into_iter().filter_map(|entry| entry.id).filter(|id| !is_taken(id));
            refused.extend(others.filter_map(|id| id.parse::<usize>().ok()));
        }
        Ok(refused)
    }

    /// Has SQS hand out at once what a consumer can never process, so that it is among the dead letters within seconds,
    /// however long the queue goes on with what an outage keeps from being processed.
    ///
    /// What fails here is logged and no more: such records come back after the visibility timeout.
    pub async fn hand_out_again(&self, queue_url: &str, receipt_handles: &[String]) {
        for handles in receipt_handles.chunks(MAX_BATCH) {
            let entries = handles.iter().enumerate().map(|(position, receipt_handle)| Visibility {
                id: position.to_string(),
                receipt_handle,
                visibility_timeout: 0,
            });
            let batch = ChangeMessageVisibilityBatch { queue_url, entries: entries.collect() };
            let put = self.call::<IgnoredAny>("ChangeMessageVisibilityBatch", queue_url, &batch);
            if let Err(error) = put.await {
                tracing::info!(
                    error = crate::error::chain(&error),
                    "SQS does not hand records out again at once"
                );
            }
        }
    }

    /// Tells whether a queue can be reached.
    ///
    /// # Errors
    ///
    /// [`PublishError`] when SQS refuses or does not answer within the budget.
    pub async fn check(&self, queue_url: &str) -> Result<(), PublishError> {
        self.call::<IgnoredAny>("GetQueueAttributes", queue_url, &GetQueueAttributes { queue_url }).await?;
        Ok(())
    }

    async fn call<A: for<'de> Deserialize<'de>>(
        &self,
        operation: &'static str,
        queue_url: &str,
        body: &impl Serialize,
    ) -> Result<A, PublishError> {
        let body = serde_json::to_vec(body).map_err(PublishError::Encode)?;
        match tokio::time::timeout(self.budget, self.client.call(operation, queue_url, body.into())).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(PublishError::TooSlow(self.budget)),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage<'a> {
    queue_url: &'a str,
    #[serde(flatten)]
    message: Message<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessageBatch<'a> {
    queue_url: &'a str,
    entries: Vec<Message<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeMessageVisibilityBatch<'a> {
    queue_url: &'a str,
    entries: Vec<Visibility<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Visibility<'a> {
    id: String,
    receipt_handle: &'a str,
    visibility_timeout: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueAttributes<'a> {
    queue_url: &'a str,
}

/// What SQS says of a message that it has. An answer without it is none of SQS's.
#[derive(Deserialize)]
struct Taken {
    #[serde(rename = "MessageId")]
    _message_id: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchAnswer {
    #[serde(default)]
    successful: Vec<TakenEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TakenEntry {
    id: String,
}

/// A message, alone or as an entry of a batch.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    /// Its position in a batch, which SQS wants as a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    message_body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    message_attributes: Attributes<'a>,
}

#[derive(Serialize)]
struct Attributes<'a> {
    /// [`super::REQUEST_ID`].
    request_id: Attribute<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute<'a> {
    data_type: &'static str,
    string_value: &'a str,
}

impl<'a> Message<'a> {
    fn new(
        position: Option<usize>,
        message: &impl Serialize,
        request_id: &'a str,
        delay: Duration,
    ) -> Result<Self, PublishError> {
        let request_id = Attribute { data_type: "String", string_value: request_id };
        Ok(Self {
            id: position.map(|position| position.to_string()),
            message_body: serde_json::to_string(message).map_err(PublishError::Encode)?,
            delay_seconds: delay_seconds(delay),
            message_attributes: Attributes { request_id },
        })
    }

    /// What it counts for: its body, and its attribute's name, type and value.
    fn size(&self) -> usize {
        let Attribute { data_type, string_value } = &self.message_attributes.request_id;
        self.message_body.len() + super::REQUEST_ID.len() + data_type.len() + string_value.len()
    }
}

fn entries<'a, M: Serialize + 'a>(
    messages: impl Iterator<Item = (&'a M, &'a str, Duration)>,
) -> Result<Vec<Message<'a>>, PublishError> {
    messages
        .enumerate()
        .map(|(position, (message, request_id, delay))| {
            Message::new(Some(position), message, request_id, delay)
        })
        .collect()
}

/// Whole seconds, rounded up: what comes too early has come for nothing.
fn delay_seconds(delay: Duration) -> Option<u64> {
    let seconds = delay.min(MAX_DELAY).as_secs_f64().ceil() as u64;
    (seconds > 0).then_some(seconds)
}

/// Divides entries, in their order, into calls that SQS takes.
fn calls(entries: Vec<Message<'_>>) -> Vec<Vec<Message<'_>>> {
    let mut calls: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let size = entry.size();
        bytes += size;
        match calls.last_mut() {
            Some(call) if call.len() < MAX_BATCH && bytes <= MAX_BATCH_BYTES => call.push(entry),
            _ => {
                bytes = size;
                calls.push(vec![entry]);
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(bodies: &[usize]) -> Vec<usize> {
        let entries = bodies
            .iter()
            .map(|&length| Message::new(Some(0), &"x".repeat(length), "r-1", Duration::ZERO).unwrap())
            .collect();
        calls(entries).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_delay_is_rounded_up_to_seconds_and_kept_within_what_sqs_takes() {
        let delays = [0.0, 0.001, 1.0, 1.5, 899.9, 5_000.0];
        let seconds: Vec<_> = delays.map(|delay| delay_seconds(Duration::from_secs_f64(delay))).into();
        assert_eq!(seconds, [None, Some(1), Some(1), Some(2), Some(900), Some(900)]);
    }

    #[test]
    fn a_call_holds_no_more_than_sqs_takes_in_number_and_in_bytes() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[10; 25]), [10, 10, 5]);
        assert_eq!(sizes(&[100_000; 5]), [2, 2, 1]);
        assert_eq!(sizes(&[10, 262_000, 10, 300_000, 10]), [3, 1, 1]);
    }
}
