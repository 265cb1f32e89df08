//! Tells `deliver-event` that events were written, so that they are delivered within milliseconds.
//!
//! Functions call this after the commit. It is best effort: `retry-events` finds the events of lost hints every minute.

use crate::clock;
use crate::config::Env;
use crate::queue::{EventsMessage, Publisher};
use std::time::Duration;

/// How long a function waits for SQS. The events are stored, so a longer wait would only delay the function.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Where hints go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHintsConfig {
    queue_url: Option<String>,
}

impl EventHintsConfig {
    /// Reads `EVENTS_QUEUE_URL`. Without it, no hints are sent, and events are delivered within about a minute.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        Some(Self { queue_url: env.optional_url("EVENTS_QUEUE_URL")?.map(String::from) })
    }
}

/// Sends hints.
#[derive(Debug)]
pub struct EventHints {
    publisher: Publisher,
    queue_url: Option<String>,
}

impl EventHints {
    /// Creates a sender of hints.
    #[must_use]
    pub fn new(publisher: Publisher, config: EventHintsConfig) -> Self {
        Self { publisher, queue_url: config.queue_url }
    }

    /// Sends a hint that events were written. One per invocation is enough. An error is only logged.
    pub async fn send(&self) {
        let Some(queue_url) = &self.queue_url else { return };
        let request_id = clock::new_id().to_string();
        // Boxed: the futures of the AWS SDK are large.
        let send = Box::pin(self.publisher.send(queue_url, &EventsMessage::V1, &request_id));
        let error = match tokio::time::timeout(TIMEOUT, send).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => crate::error::chain(&error),
            Err(_) => format!("SQS did not respond within {} ms", TIMEOUT.as_millis()),
        };
        tracing::info!(error, "could not send a hint about events, leaving them to retry-events");
    }
}
