//! Having it found out whose numbers stored messages came from, where there is somebody to ask.

use crate::App;
use common::config::Env;
use common::db::inbound::{NewInbound, StoredInbound};
use common::domain::phone::Sender;
use common::queue::IdentifyMessage;
use std::collections::HashSet;

/// Where conversations are put whose numbers are to be looked up.
#[derive(Debug, Clone)]
pub struct IdentifyQueue {
    url: String,
}

impl IdentifyQueue {
    /// Reads `MONITOR_API_URL`, without which nobody is asked, and `IDENTIFY_QUEUE_URL`, which is needed with it.
    pub fn from_env(env: &mut Env<'_>) -> Option<Option<Self>> {
        let monitor = env.optional_url("MONITOR_API_URL");
        let queue = env.optional_url("IDENTIFY_QUEUE_URL");
        match (monitor?, queue?) {
            (None, _) => Some(None),
            (Some(_), Some(url)) => Some(Some(Self { url: url.into() })),
            (Some(_), None) => {
                env.problem("IDENTIFY_QUEUE_URL is missing, and MONITOR_API_URL needs it");
                None
            }
        }
    }
}

/// Puts the conversations of messages that were stored now on their queue, each once.
///
/// What does not get there is asked about by the schedule, so that this fails no record, and a Monitor that is away
/// concerns nobody here.
pub(crate) async fn ask_for(app: &App, queue: &IdentifyQueue, stored: &[StoredInbound], came: &[NewInbound]) {
    let mut seen = HashSet::new();
    let messages: Vec<_> = stored
        .iter()
        .filter_map(|stored| {
            let message = came.iter().find(|came| came.twilio_sid == stored.twilio_sid)?;
            Sender::from_twilio(&message.from_number).number()?;
            let identify = IdentifyMessage::new(stored.conversation_id, &message.from_number);
            seen.insert(stored.conversation_id).then(|| (identify, message.request_id.clone()))
        })
        .collect();
    if messages.is_empty() {
        return;
    }
    match app.publisher.send_all(&queue.url, &messages).await {
        Ok(missed) if missed.is_empty() => {}
        Ok(missed) => tracing::warn!(missed = missed.len(), "the schedule will ask whose numbers these are"),
        Err(error) => {
            let error = common::error::chain(&error);
            tracing::warn!(error, "the schedule will ask whose numbers these are");
        }
    }
}
