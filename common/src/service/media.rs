//! Files of messages: as the API shows them, their objects, and hints for `store-media`.

use crate::config::Env;
use crate::domain::ids::MediaId;
use crate::domain::media::MediaStatus;
use crate::queue::{MediaMessage, Publisher};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Returns the key of a file's object.
#[must_use]
pub fn object_key(id: MediaId) -> String {
    format!("media/{id}")
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Media {
    /// Of an inbound message.
    Received(ReceivedMedia),
    /// Of an outbound message, or of an inbound message from before files were copied.
    Linked(LinkedMedia),
}

/// A file of an inbound message. It is copied from Twilio after the message is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceivedMedia {
    /// File id.
    #[schema(value_type = uuid::Uuid)]
    pub id: MediaId,
    /// Path of `GET /media/{id}`, which returns the file once it is stored.
    #[schema(example = "/media/01900000-0000-7000-8000-0000000000f1")]
    pub url: String,
    /// Media type of the bytes; until the file is stored, the type that Twilio reported.
    pub content_type: Option<String>,
    /// Size in bytes, once the file is stored.
    pub size: Option<i32>,
    /// SHA-256 in hexadecimal digits, once the file is stored.
    pub sha256: Option<String>,
    /// Status.
    pub status: MediaStatus,
}

/// A file at a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkedMedia {
    /// URL from the request to send the message. Of an old inbound message: at Twilio, which requires its credentials.
    pub url: String,
    /// Media type, if it is known.
    pub content_type: Option<String>,
}

/// Where hints for `store-media` go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaHintsConfig {
    queue_url: Option<String>,
}

impl MediaHintsConfig {
    /// Reads `MEDIA_QUEUE_URL`. Without it, no hints are sent.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        Some(Self { queue_url: env.optional_url("MEDIA_QUEUE_URL")?.map(String::from) })
    }
}

/// Sends hints that files are to be copied or deleted.
#[derive(Debug)]
pub struct MediaHints {
    publisher: Publisher,
    queue_url: Option<String>,
}

impl MediaHints {
    /// Creates a sender of hints.
    #[must_use]
    pub fn new(publisher: Publisher, config: MediaHintsConfig) -> Self {
        Self { publisher, queue_url: config.queue_url }
    }

    /// Sends hints, each with the id of its request, and returns how many were sent. Best effort: an error is only
    /// logged, and `retry-sends` sends hints for all due files every minute.
    pub async fn send(&self, hints: &[(MediaMessage, String)]) -> usize {
        let Some(queue_url) = self.queue_url.as_ref().filter(|_| !hints.is_empty()) else { return 0 };
        // Boxed: the futures of the AWS SDK are large.
        let error = match Box::pin(self.publisher.send_all(queue_url, hints)).await {
            Ok(refused) if refused.is_empty() => return hints.len(),
            Ok(refused) => format!("SQS refused {} of {}", refused.len(), hints.len()),
            Err(error) => crate::error::chain(&error),
        };
        tracing::info!(error, "could not send hints about files, leaving them to retry-sends");
        0
    }
}
