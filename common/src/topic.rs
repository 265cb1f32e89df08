//! Publishes messages to an SNS topic.

use crate::aws;
use crate::config::{Env, process};
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::config::{BehaviorVersion, IdentityCache, StalledStreamProtectionConfig};
use aws_sdk_sns::error::BoxError;
use std::time::Duration;

/// The time limit of a call, including the SDK's retries.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A message was not published, or the response was lost.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// SNS rejected the message or was unavailable.
    #[error("publishing to the SNS topic")]
    Refused(#[source] BoxError),
    /// SNS did not respond in time.
    #[error("SNS did not respond within {} ms", TIMEOUT.as_millis())]
    TooSlow,
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    client: Client,
    arn: String,
}

impl Topic {
    /// Reads `ALARM_TOPIC_ARN`. Without it there is no topic.
    pub fn arn_from_env(env: &mut Env<'_>) -> Option<Option<String>> {
        env.optional_text("ALARM_TOPIC_ARN")
    }

    /// Creates a client. It connects with the first message.
    #[must_use]
    pub fn new(arn: String) -> Self {
        let mut sdk = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws::http_client())
            .timeout_config(TimeoutConfig::disabled())
            .credentials_provider(EnvironmentVariableCredentialsProvider::new())
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        sdk.set_region(aws::region());
        sdk.set_endpoint_url(process("AWS_ENDPOINT_URL_SNS"));
        Self { client: Client::from_conf(sdk.build()), arn }
    }

    /// Publishes a message.
    ///
    /// # Errors
    ///
    /// [`TopicError`]. The message may be published anyway.
    pub async fn publish(&self, subject: &str, message: &str) -> Result<(), TopicError> {
        let call = self.client.publish().topic_arn(&self.arn).subject(subject).message(message).send();
        match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(TopicError::Refused(error.into())),
            Err(_) => Err(TopicError::TooSlow),
        }
    }
}
