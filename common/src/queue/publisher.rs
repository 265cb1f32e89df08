//! Sends messages to SQS within a time budget.

use super::message::Grouped;
use super::spans;
use crate::aws;
use crate::config::{Env, process};
use crate::telemetry::traces::Span;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, IdentityCache, StalledStreamProtectionConfig};
use aws_sdk_sqs::error::{BoxError, BuildError, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use std::collections::HashMap;
use std::time::Duration;

/// SQS's maximum number of batch entries in one request.
const MAX_BATCH: usize = 10;

/// SQS's maximum size of a batch request in bytes, including attributes, before August 2025 (1 MiB since then). Ten of
/// the largest webhooks exceed both limits, and SQS rejects a request that is too large as a whole.
const MAX_BATCH_BYTES: usize = 262_144;

/// SQS's maximum message delay.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// The time limit of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherConfig {
    budget: Duration,
}

impl PublisherConfig {
    /// Reads `SQS_SEND_BUDGET_MS` (default 1000), the time limit of one call to SQS, including its retry.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let budget = env.millis("SQS_SEND_BUDGET_MS", 1..=30_000, 1_000)?;
        Some(Self { budget })
    }
}

/// An error of a call to SQS.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The message could not be encoded as JSON.
    #[error("encoding the message as JSON")]
    Encode(#[source] serde_json::Error),
    /// SQS rejected the request or was unavailable.
    #[error("sending the request to SQS")]
    Refused(#[source] BoxError),
    /// SQS did not respond within the budget. The message may be on the queue anyway.
    #[error("SQS did not respond within {} ms", .0.as_millis())]
    TooSlow(Duration),
}

impl PublishError {
    /// Returns the kind of error for a span.
    fn kind(&self) -> &'static str {
        match self {
            Self::Encode(_) => "encode",
            Self::Refused(_) => "refused",
            Self::TooSlow(_) => "timeout",
        }
    }

    fn refused<E, R>(error: SdkError<E, R>) -> Self
    where
        SdkError<E, R>: Into<BoxError>,
    {
        Self::Refused(error.into())
    }
}

/// Sends messages to queues.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: Client,
    budget: Duration,
}

impl Publisher {
    /// Creates a publisher. It connects with the first message.
    #[must_use]
    pub fn new(config: PublisherConfig) -> Self {
        let mut sdk = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws::http_client())
            // The budget limits each call; the timers of the SDK would only cost system calls.
            .timeout_config(TimeoutConfig::disabled())
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(BACKOFF))
            .credentials_provider(EnvironmentVariableCredentialsProvider::new())
            // Reading the credentials is cheap, and nothing is streamed.
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        sdk.set_region(aws::region());
        // Set by the local stack. `aws-config` only reads it in its loader, which also reads profiles.
        sdk.set_endpoint_url(process("AWS_ENDPOINT_URL_SQS"));
        Self { client: Client::from_conf(sdk.build()), budget: config.budget }
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// [`PublishError`]. After `TooSlow`, and sometimes after `Refused`, the message may be on the queue anyway, so the
    /// caller's fallback must be idempotent.
    pub async fn send(
        &self,
        queue_url: &str,
        message: &impl Grouped,
        request_id: &str,
    ) -> Result<(), PublishError> {
        self.send_later(queue_url, message, request_id, Duration::ZERO).await
    }

    /// Sends one message with a delay, rounded up to seconds and limited to [`MAX_DELAY`].
    ///
    /// # Errors
    ///
    /// As [`Publisher::send`].
    pub async fn send_later(
        &self,
        queue_url: &str,
        message: &impl Grouped,
        request_id: &str,
        delay: Duration,
    ) -> Result<(), PublishError> {
        let body = serde_json::to_string(message).map_err(PublishError::Encode)?;
        let span = spans::send(queue_url, 1);
        let call = self
            .client
            .send_message()
            .queue_url(queue_url)
            .message_body(body)
            .set_delay_seconds(delay_seconds(delay))
            .set_message_group_id(message.group())
            .set_message_attributes(Some(attributes(request_id, &span)))
            .send();
        let sent = match tokio::time::timeout(self.budget, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PublishError::refused(error)),
            Err(_) => Err(PublishError::TooSlow(self.budget)),
        };
        sent.inspect_err(|error| span.fail(error.kind()))
    }

    /// Sends messages in as few batch requests as possible and returns the positions of those that SQS rejected.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if a batch request failed. The messages of earlier requests are on the queue.
    pub async fn send_all<M: Grouped>(
        &self,
        queue_url: &str,
        messages: &[(M, String)],
    ) -> Result<Vec<usize>, PublishError> {
        let at_once =
            messages.iter().map(|(message, request_id)| (message, request_id.as_str(), Duration::ZERO));
        self.send_entries(queue_url, at_once).await
    }

    /// Sends messages like [`Publisher::send_all`], with a delay for each message as in [`Publisher::send_later`].
    ///
    /// # Errors
    ///
    /// As [`Publisher::send_all`].
    pub async fn send_all_later<M: Grouped>(
        &self,
        queue_url: &str,
        messages: &[(M, String, Duration)],
    ) -> Result<Vec<usize>, PublishError> {
        let later =
            messages.iter().map(|(message, request_id, delay)| (message, request_id.as_str(), *delay));
        self.send_entries(queue_url, later).await
    }

    async fn send_entries<'a, M: Grouped + 'a>(
        &self,
        queue_url: &str,
        messages: impl ExactSizeIterator<Item = (&'a M, &'a str, Duration)>,
    ) -> Result<Vec<usize>, PublishError> {
        let mut rejected = Vec::new();
        let span = spans::send(queue_url, messages.len());
        for entries in batches(entries(messages, &span)?) {
            let call =
                self.client.send_message_batch().queue_url(queue_url).set_entries(Some(entries)).send();
            let response = tokio::time::timeout(self.budget, call)
                .await
                .map_err(|_| PublishError::TooSlow(self.budget))
                .and_then(|response| response.map_err(PublishError::refused))
                .inspect_err(|error| span.fail(error.kind()))?;
            rejected.extend(response.failed.iter().filter_map(|entry| entry.id.parse::<usize>().ok()));
        }
        Ok(rejected)
    }

    /// Makes poison messages visible again immediately, so that they reach the dead-letter queue within seconds, even
    /// if the queue's maximum receive count is high enough to wait out an outage.
    ///
    /// Errors are only logged: the messages become visible after the visibility timeout anyway.
    pub async fn make_visible(&self, queue_url: &str, receipt_handles: &[String]) {
        for handles in receipt_handles.chunks(MAX_BATCH) {
            let entries = handles.iter().enumerate().map(|(position, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(position.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build()
            });
            if let Err(error) = self.change_visibility(queue_url, entries.collect()).await {
                tracing::info!(error = crate::error::chain(&error), "could not reset visibility timeout");
            }
        }
    }

    async fn change_visibility(
        &self,
        queue_url: &str,
        entries: Result<Vec<ChangeMessageVisibilityBatchRequestEntry>, BuildError>,
    ) -> Result<(), PublishError> {
        let entries = entries.map_err(|error| PublishError::Refused(error.into()))?;
        let call = self
            .client
            .change_message_visibility_batch()
            .queue_url(queue_url)
            .set_entries(Some(entries))
            .send();
        match tokio::time::timeout(self.budget, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PublishError::refused(error)),
            Err(_) => Err(PublishError::TooSlow(self.budget)),
        }
    }

    /// Checks that a queue is available.
    ///
    /// # Errors
    ///
    /// [`PublishError`] if SQS rejects the request or does not respond within the budget.
    pub async fn check(&self, queue_url: &str) -> Result<(), PublishError> {
        let call = self.client.get_queue_attributes().queue_url(queue_url).send();
        match tokio::time::timeout(self.budget, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PublishError::refused(error)),
            Err(_) => Err(PublishError::TooSlow(self.budget)),
        }
    }
}

/// The backoff before the single retry, within the budget.
const BACKOFF: Duration = Duration::from_millis(50);

fn entries<'a, M: Grouped + 'a>(
    messages: impl Iterator<Item = (&'a M, &'a str, Duration)>,
    span: &Span,
) -> Result<Vec<SendMessageBatchRequestEntry>, PublishError> {
    messages
        .enumerate()
        .map(|(position, (message, request_id, delay))| entry(position, message, request_id, delay, span))
        .collect()
}

fn entry(
    position: usize,
    message: &impl Grouped,
    request_id: &str,
    delay: Duration,
    span: &Span,
) -> Result<SendMessageBatchRequestEntry, PublishError> {
    let body = serde_json::to_string(message).map_err(PublishError::Encode)?;
    SendMessageBatchRequestEntry::builder()
        .id(position.to_string())
        .message_body(body)
        .set_delay_seconds(delay_seconds(delay))
        .set_message_group_id(message.group())
        .set_message_attributes(Some(attributes(request_id, span)))
        .build()
        .map_err(|error| PublishError::Refused(error.into()))
}

/// Returns the delay in seconds, rounded up, because an early message would have no effect.
fn delay_seconds(delay: Duration) -> Option<i32> {
    let seconds = delay.min(MAX_DELAY).as_secs_f64().ceil() as i32;
    (seconds > 0).then_some(seconds)
}

/// Splits batch entries, in their order, into batches within SQS's limits.
fn batches(entries: Vec<SendMessageBatchRequestEntry>) -> Vec<Vec<SendMessageBatchRequestEntry>> {
    let mut batches: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let size = size(&entry);
        bytes += size;
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_BATCH && bytes <= MAX_BATCH_BYTES => batch.push(entry),
            _ => {
                bytes = size;
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

/// Returns the size of an entry for SQS's limit: its body, and the name, type and value of each attribute.
fn size(entry: &SendMessageBatchRequestEntry) -> usize {
    let attributes = entry.message_attributes().into_iter().flatten();
    let attribute_bytes = |(name, value): (&String, &MessageAttributeValue)| {
        name.len() + value.data_type().len() + value.string_value().map_or(0, str::len)
    };
    entry.message_body().len() + attributes.map(attribute_bytes).sum::<usize>()
}

/// Returns the attributes of a message: its request id, and its trace context if traces are on.
fn attributes(request_id: &str, span: &Span) -> HashMap<String, MessageAttributeValue> {
    let text = |(name, value): (&str, String)| {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build().ok()?;
        Some((name.to_owned(), value))
    };
    let request = (super::REQUEST_ID, request_id.to_owned());
    std::iter::once(request).chain(spans::context(request_id, span)).filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Text(String);

    impl Grouped for Text {
        fn group(&self) -> Option<String> {
            None
        }
    }

    fn sizes(bodies: &[usize]) -> Vec<usize> {
        let span = spans::send("", 0);
        let entries = bodies
            .iter()
            .map(|&length| entry(0, &Text("x".repeat(length)), "r-1", Duration::ZERO, &span).unwrap())
            .collect();
        batches(entries).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_delay_is_rounded_up_to_seconds_and_limited_to_sqs_maximum() {
        let delays = [0.0, 0.001, 1.0, 1.5, 899.9, 5_000.0];
        let seconds: Vec<_> = delays.map(|delay| delay_seconds(Duration::from_secs_f64(delay))).into();
        assert_eq!(seconds, [None, Some(1), Some(1), Some(2), Some(900), Some(900)]);
    }

    #[test]
    fn a_batch_does_not_exceed_sqs_limits_in_entries_and_bytes() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[10; 25]), [10, 10, 5]);
        assert_eq!(sizes(&[100_000; 5]), [2, 2, 1]);
        assert_eq!(sizes(&[10, 262_000, 10, 300_000, 10]), [3, 1, 1]);
    }
}
