//! Storing a webhook: on its queue, else in the spool. If both fail, the webhook returns 503 and Twilio retries.

use super::{Receiver, Webhook};
use crate::clock;
use crate::db::spool::{self, SpoolQueue};
use crate::db::{Db, DbError};
use crate::error::chain;
use crate::http::ApiError;
use crate::queue::{WebhookMessage, WebhookV1};
use crate::telemetry::{self, Metric};
use crate::twilio::WebhookKind;
use std::time::Duration;

/// Why the spool did not store a webhook.
#[derive(Debug, thiserror::Error)]
enum SpoolError {
    #[error("writing the webhook as JSON")]
    Encode(#[source] serde_json::Error),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("Postgres did not store the webhook within {} ms", .0.as_millis())]
    TooSlow(Duration),
}

impl Receiver {
    /// Puts a webhook on its queue, or into the spool if SQS fails or times out.
    ///
    /// After a timeout the message may still arrive. Consumers recognize the second copy as a duplicate.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] when neither accepted it, so that Twilio retries or calls its fallback URL.
    pub async fn keep(&self, webhook: Webhook) -> Result<(), ApiError> {
        let Webhook { kind, message, request_id, trace } = webhook;
        trace.wrap(self.store(kind, message, request_id)).await
    }

    async fn store(&self, kind: WebhookKind, message: WebhookV1, request_id: String) -> Result<(), ApiError> {
        let (queue_url, queue) = self.queue(kind);
        let message = WebhookMessage::V1(message);
        // Boxed: the SDK's futures are too deeply nested for the compiler.
        let put = Box::pin(self.publisher.send(queue_url, &message, &request_id));
        if let Err(error) = put.await {
            telemetry::count_error("sqs_failed");
            tracing::warn!(error = chain(&error), "could not enqueue webhook, writing it to the spool");
            Box::pin(self.spool(queue, &message, &request_id)).await.map_err(|error| {
                telemetry::count(Metric::WebhooksUnavailable, 1);
                ApiError::unavailable(error)
            })?;
            telemetry::count(Metric::WebhooksSpooled, 1);
        }
        telemetry::count(Metric::WebhooksAccepted, 1);
        Ok(())
    }

    /// Stores a webhook in the table for webhooks that SQS did not accept.
    async fn spool(
        &self,
        queue: SpoolQueue,
        message: &WebhookMessage,
        request_id: &str,
    ) -> Result<(), SpoolError> {
        let message = serde_json::to_value(message).map_err(SpoolError::Encode)?;
        let db = self.db()?;
        let write = spool::add(db, clock::new_id(), queue, &message, request_id, clock::now());
        match tokio::time::timeout(self.config.spool_budget, write).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(SpoolError::TooSlow(self.config.spool_budget)),
        }
    }

    fn db(&self) -> Result<&Db, DbError> {
        if let Some(db) = self.db.get() {
            return Ok(db);
        }
        let db = Db::new(&self.config.database)?;
        Ok(self.db.get_or_init(|| db))
    }
}
