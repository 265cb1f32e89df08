//! Puts messages on queues, within a budget of time.

use crate::config::{Env, process};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{
    BehaviorVersion, Credentials, IdentityCache, Region, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_sqs::error::{BoxError, BuildError, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use serde::Serialize;
use std::time::Duration;

/// The roots that AWS endpoints chain to, from <https://www.amazontrust.com/repository/>, read 2026-11.
///
/// The machine's own store holds some 140 roots, and parsing them is most of a cold start here
/// (`common/docs/decisions/0003-tls-roots.md`).
const AMAZON_ROOTS: [&[u8]; 5] = [
    include_bytes!("amazon-roots/amazon-root-ca-1.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-2.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-3.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-4.pem"),
    include_bytes!("amazon-roots/starfield-services-root-g2.pem"),
];

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
    Refused(#[source] BoxError),
    /// SQS did not answer within the budget: the message may be on the queue all the same.
    #[error("SQS did not answer within {} ms", .0.as_millis())]
    TooSlow(Duration),
}

impl PublishError {
    fn refused<E, R>(error: SdkError<E, R>) -> Self
    where
        SdkError<E, R>: Into<BoxError>,
    {
        Self::Refused(error.into())
    }
}

/// Puts messages on queues.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: Client,
    budget: Duration,
}

impl Publisher {
    /// Prepares a client; the first message opens the connection.
    ///
    /// What Lambda sets for every function is read here: `AWS_REGION`, the credentials, and, on one machine,
    /// `AWS_ENDPOINT_URL_SQS` (`common/docs/decisions/0007-aws-sdk-without-its-loader.md`).
    #[must_use]
    pub fn new(config: PublisherConfig) -> Self {
        let mut sdk = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client())
            // Each call is under the budget as a whole; each timer of the SDK's beneath would cost a system call.
            .timeout_config(TimeoutConfig::disabled())
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(BACKOFF))
            // There is one identity, and it is at hand; nothing is streamed.
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        sdk.set_region(process("AWS_REGION").map(Region::new));
        sdk.set_endpoint_url(process("AWS_ENDPOINT_URL_SQS"));
        sdk.set_credentials_provider(credentials().map(SharedCredentialsProvider::new));
        Self { client: Client::from_conf(sdk.build()), budget: config.budget }
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
        let body = serde_json::to_string(message).map_err(PublishError::Encode)?;
        let call = self
            .client
            .send_message()
            .queue_url(queue_url)
            .message_body(body)
            .set_delay_seconds(delay_seconds(delay))
            .set_message_attributes(request_id_attribute(request_id).map(|attribute| [attribute].into()))
            .send();
        match tokio::time::timeout(self.budget, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PublishError::refused(error)),
            Err(_) => Err(PublishError::TooSlow(self.budget)),
        }
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
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<Vec<usize>, PublishError> {
        let mut refused = Vec::new();
        for entries in calls(entries) {
            let call =
                self.client.send_message_batch().queue_url(queue_url).set_entries(Some(entries)).send();
            let answer = tokio::time::timeout(self.budget, call)
                .await
                .map_err(|_| PublishError::TooSlow(self.budget))?
                .map_err(PublishError::refused)?;
            refused.extend(answer.failed.iter().filter_map(|entry| entry.id.parse::<usize>().ok()));
        }
        Ok(refused)
    }

    /// Has SQS hand out at once what a consumer can never process, so that it is among the dead letters within seconds,
    /// however long the queue goes on with what an outage keeps from being processed.
    ///
    /// What fails here is logged and no more: such records come back after the visibility timeout.
    pub async fn hand_out_again(&self, queue_url: &str, receipt_handles: &[String]) {
        for handles in receipt_handles.chunks(MAX_BATCH) {
            let entries = handles.iter().enumerate().map(|(position, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(position.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build()
            });
            if let Err(error) = self.make_visible(queue_url, entries.collect()).await {
                tracing::info!(
                    error = crate::error::chain(&error),
                    "SQS does not hand records out again at once"
                );
            }
        }
    }

    async fn make_visible(
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

    /// Tells whether a queue can be reached.
    ///
    /// # Errors
    ///
    /// [`PublishError`] when SQS refuses or does not answer within the budget.
    pub async fn check(&self, queue_url: &str) -> Result<(), PublishError> {
        let call = self.client.get_queue_attributes().queue_url(queue_url).send();
        match tokio::time::timeout(self.budget, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PublishError::refused(error)),
            Err(_) => Err(PublishError::TooSlow(self.budget)),
        }
    }
}

fn http_client() -> SharedHttpClient {
    let roots = AMAZON_ROOTS.iter().fold(TrustStore::empty(), |store, pem| store.with_pem_certificate(*pem));
    match TlsContext::builder().with_trust_store(roots).build() {
        Ok(context) => aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build_https(),
        // Only a context with client certificates can fail to build; without one, plain HTTP reaches nothing of AWS's.
        Err(_) => aws_smithy_http_client::Builder::new().build_http(),
    }
}

/// Reads the credentials of the function's role, which Lambda sets in the environment and renews with the process.
///
/// Without any, every call fails, and says so.
fn credentials() -> Option<Credentials> {
    let (id, secret) = (process("AWS_ACCESS_KEY_ID")?, process("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, process("AWS_SESSION_TOKEN"), None, "Lambda"))
}

/// The wait before the one retry, which must fit the budget.
const BACKOFF: Duration = Duration::from_millis(50);

fn entries<'a, M: Serialize + 'a>(
    messages: impl Iterator<Item = (&'a M, &'a str, Duration)>,
) -> Result<Vec<SendMessageBatchRequestEntry>, PublishError> {
    messages
        .enumerate()
        .map(|(position, (message, request_id, delay))| entry(position, message, request_id, delay))
        .collect()
}

fn entry(
    position: usize,
    message: &impl Serialize,
    request_id: &str,
    delay: Duration,
) -> Result<SendMessageBatchRequestEntry, PublishError> {
    let body = serde_json::to_string(message).map_err(PublishError::Encode)?;
    SendMessageBatchRequestEntry::builder()
        .id(position.to_string())
        .message_body(body)
        .set_delay_seconds(delay_seconds(delay))
        .set_message_attributes(request_id_attribute(request_id).map(|attribute| [attribute].into()))
        .build()
        .map_err(|error| PublishError::Refused(error.into()))
}

/// Whole seconds, rounded up: what comes too early has come for nothing.
fn delay_seconds(delay: Duration) -> Option<i32> {
    let seconds = delay.min(MAX_DELAY).as_secs_f64().ceil() as i32;
    (seconds > 0).then_some(seconds)
}

/// Divides entries, in their order, into calls that SQS takes.
fn calls(entries: Vec<SendMessageBatchRequestEntry>) -> Vec<Vec<SendMessageBatchRequestEntry>> {
    let mut calls: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let size = size(&entry);
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

/// What an entry counts for: its body, and each attribute's name, type and value.
fn size(entry: &SendMessageBatchRequestEntry) -> usize {
    let attributes = entry.message_attributes().into_iter().flatten();
    let attribute_bytes = |(name, value): (&String, &MessageAttributeValue)| {
        name.len() + value.data_type().len() + value.string_value().map_or(0, str::len)
    };
    entry.message_body().len() + attributes.map(attribute_bytes).sum::<usize>()
}

fn request_id_attribute(request_id: &str) -> Option<(String, MessageAttributeValue)> {
    let value = MessageAttributeValue::builder().data_type("String").string_value(request_id).build().ok()?;
    Some((super::REQUEST_ID.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(bodies: &[usize]) -> Vec<usize> {
        let entries = bodies
            .iter()
            .map(|&length| entry(0, &"x".repeat(length), "r-1", Duration::ZERO).unwrap())
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
