//! Sends events to the subscribers' own SQS queues.

use super::attempt::{Failure, Outcome, Outgoing};
use super::destination::QueueArn;
use super::signature;
use crate::config::process;
use crate::error::chain;
use crate::telemetry::traces::{Kind, Span};
use crate::{aws, clock};
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Builder, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::MessageAttributeValue;
use aws_sdk_sqs::{Client, Config};
use standardwebhooks::WebhookError;
use std::time::Duration;

/// Sends to queues of any region.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    client: Client,
    endpoint: Option<String>,
}

impl Queues {
    pub(super) fn new() -> Self {
        // Set by the local stack.
        let endpoint = process("AWS_ENDPOINT_URL_SQS").filter(|url| !url.is_empty());
        let mut sdk = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws::http_client())
            .timeout_config(TimeoutConfig::disabled())
            // The next attempt is scheduled, as for a URL.
            .retry_config(RetryConfig::disabled())
            .credentials_provider(EnvironmentVariableCredentialsProvider::new())
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        sdk.set_region(aws::region());
        sdk.set_endpoint_url(endpoint.clone());
        Self { client: Client::from_conf(sdk.build()), endpoint }
    }

    /// Sends a message, with the headers of a webhook as attributes.
    pub(super) async fn send(
        &self,
        queue: &QueueArn,
        outgoing: &Outgoing<'_>,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let span = Span::child(Kind::Producer, || format!("send {}", queue.name()).into());
        span.set("messaging.system", "aws_sqs");
        span.set("messaging.operation.type", "send");
        span.set("messaging.destination.name", queue.name());
        let request = self.request(queue, outgoing)?;
        // An attempt to a queue of another region uses the endpoint of that region.
        let region = Builder::new().region(Region::new(queue.region().to_owned()));
        let sending = request.customize().config_override(region).send();
        let result = match span.wrap(tokio::time::timeout(timeout, sending)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::timed_out(timeout)),
        };
        result.inspect_err(|_| span.fail("send"))
    }

    fn request(
        &self,
        queue: &QueueArn,
        outgoing: &Outgoing<'_>,
    ) -> Result<SendMessageFluentBuilder, WebhookError> {
        let url = queue.queue_url(self.endpoint.as_deref());
        let mut request = self.client.send_message().queue_url(url).message_body(outgoing.body);
        for (name, value) in signature::headers(outgoing, clock::now())? {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            // Only fails without a data type.
            if let Ok(value) = value {
                request = request.message_attributes(name, value);
            }
        }
        if queue.is_fifo() {
            let group = outgoing.group.unwrap_or(outgoing.id);
            // SQS drops a repeated attempt within five minutes.
            request = request.message_group_id(group).message_deduplication_id(outgoing.id);
        }
        Ok(request)
    }
}

fn failure(error: &SdkError<SendMessageError>) -> Failure {
    let status_code = error.raw_response().map(|response| response.status().as_u16());
    let is_of_message = error.as_service_error().is_some_and(SendMessageError::is_invalid_message_contents);
    let outcome = if is_of_message { Outcome::Failed } else { Outcome::Unavailable };
    let code = error.as_service_error().and_then(|error| error.meta().code().map(str::to_owned));
    let text = code.map_or_else(|| chain(error), |code| format!("SQS rejected the message: {code}"));
    Failure { outcome, error: text, status_code }
}
