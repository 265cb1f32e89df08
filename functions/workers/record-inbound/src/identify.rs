//! Puts the conversations of stored messages on `[identify]`, if a Monitor is configured.

use crate::{App, Inbound};
use common::config::Env;
use common::db::inbound::StoredInbound;
use common::queue::IdentifyMessage;
use std::collections::HashSet;

/// The queue `[identify]`.
#[derive(Debug, Clone)]
pub struct IdentifyQueue {
    url: String,
}

impl IdentifyQueue {
    /// Reads `MONITOR_API_URL` and `IDENTIFY_QUEUE_URL`. The latter is required if there is a Monitor.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let monitor = env.optional_url("MONITOR_API_URL");
        let queue = env.optional_url("IDENTIFY_QUEUE_URL");
        match (monitor?, queue?) {
            (None, _) => Some(None),
            (Some(_), Some(url)) => Some(Some(Self { url: url.into() })),
            (Some(_), None) => {
                env.problem("IDENTIFY_QUEUE_URL is missing, MONITOR_API_URL requires it");
                None
            }
        }
    }
}

/// Puts the conversations of newly stored messages on the queue, each once.
///
/// A failure does not fail the records: `reconcile-tenants` looks up the numbers that are not on the queue.
pub(crate) async fn enqueue(app: &App, queue: &IdentifyQueue, stored: &[StoredInbound], batch: &[Inbound]) {
    let mut seen = HashSet::new();
    let messages: Vec<_> = stored
        .iter()
        .filter_map(|stored| {
            let mut messages = batch.iter().map(|inbound| &inbound.message);
            let message = messages.find(|message| message.twilio_sid == stored.twilio_sid)?;
            message.phone_number_canonical.number()?;
            let identify = IdentifyMessage::new(stored.conversation_id, &message.from_number);
            seen.insert(stored.conversation_id).then(|| (identify, message.request_id.clone()))
        })
        .collect();
    if messages.is_empty() {
        return;
    }
    match app.publisher.send_all(&queue.url, &messages).await {
        Ok(refused) if refused.is_empty() => {}
        Ok(refused) => {
            tracing::warn!(conversations = refused.len(), "could not queue conversations for identification");
        }
        Err(error) => {
            let error = common::error::chain(&error);
            tracing::warn!(error, "could not queue conversations for identification");
        }
    }
}
