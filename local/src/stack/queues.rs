//! Creates the template's queues on any SQS server.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use serde_json::json;

use super::StackError;
use crate::settings::Settings;
use crate::template::QueueSpec;

/// The delay between attempts while the SQS server is unavailable.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Returns a client for the SQS server at `endpoint`.
pub(super) fn client(endpoint: &str, settings: &Settings) -> Client {
    let http = aws_smithy_http_client::Builder::new();
    let http = if endpoint.starts_with("https:") {
        http.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    } else {
        http.build_http()
    };
    let credential = |name| (settings.overrides)(name).unwrap_or_else(|| "local".to_owned());
    let session = (settings.overrides)("AWS_SESSION_TOKEN");
    let keys = (credential("AWS_ACCESS_KEY_ID"), credential("AWS_SECRET_ACCESS_KEY"));
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(Credentials::new(keys.0, keys.1, session, None, "environment"))
        .endpoint_url(endpoint)
        .http_client(http)
        .build();
    Client::from_conf(config)
}

/// Creates the queues, or updates the attributes of existing ones. Returns their URLs by name.
///
/// Waits while the server is unavailable.
pub(crate) async fn create(
    client: &Client,
    queues: &[QueueSpec],
) -> Result<BTreeMap<String, String>, StackError> {
    let mut urls = BTreeMap::new();
    for queue in queues {
        urls.insert(queue.name.clone(), create_one(client, &queue.name).await?);
    }
    for queue in queues {
        set_attributes(client, queue, &urls).await?;
    }
    Ok(urls)
}

async fn create_one(client: &Client, name: &str) -> Result<String, StackError> {
    let mut is_logged = false;
    loop {
        match client.create_queue().queue_name(name).send().await {
            Ok(created) => return Ok(created.queue_url.unwrap_or_default()),
            Err(error) if error.as_service_error().is_some() => return Err(failed(name, error)),
            Err(error) => {
                if !is_logged {
                    let error = DisplayErrorContext(error);
                    let _ = writeln!(std::io::stderr(), "waiting for the SQS server: {error}");
                }
                is_logged = true;
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

async fn set_attributes(
    client: &Client,
    queue: &QueueSpec,
    urls: &BTreeMap<String, String>,
) -> Result<(), StackError> {
    let attributes = queue.attributes.iter();
    let mut attributes: HashMap<_, _> =
        attributes.map(|(name, value)| (QueueAttributeName::from(name.as_str()), value.clone())).collect();
    if let Some((target, most)) = &queue.redrive {
        let request = client.get_queue_attributes().queue_url(urls.get(target).cloned().unwrap_or_default());
        let found = request.attribute_names(QueueAttributeName::QueueArn).send().await;
        let found = found.map_err(|error| failed(target, error))?;
        let arn = found.attributes().and_then(|found| found.get(&QueueAttributeName::QueueArn)).cloned();
        let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": most }).to_string();
        attributes.insert(QueueAttributeName::RedrivePolicy, policy);
    }
    if attributes.is_empty() {
        return Ok(());
    }
    let request = client.set_queue_attributes().queue_url(urls.get(&queue.name).cloned().unwrap_or_default());
    request.set_attributes(Some(attributes)).send().await.map_err(|error| failed(&queue.name, error))?;
    Ok(())
}

fn failed(queue: &str, error: impl std::error::Error + Send + Sync + 'static) -> StackError {
    StackError::Queue { queue: queue.to_owned(), reason: DisplayErrorContext(error).to_string() }
}
