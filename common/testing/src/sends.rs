//! Messages to send.

use common::clock;
use common::db::sends::NewSend;
use common::domain::message::{Priority, Purpose};
use common::domain::segments::Encoding;
use serde_json::json;
use uuid::Uuid;

/// Returns a message to a number, to send now, with default values.
#[must_use]
pub fn new_send(to: &str) -> NewSend {
    NewSend {
        id: clock::new_id().into(),
        conversation_id: clock::new_id().into(),
        account_sid: "AC1".parse().unwrap(),
        to: to.parse().unwrap(),
        to_original: to.to_owned(),
        sender: "+15005550006".into(),
        replaced_from: None,
        message_content: "rent is due".to_owned(),
        media: json!([]),
        encoding: Encoding::Gsm7,
        segments: 1,
        priority: Priority::Normal,
        purpose: Purpose::Service,
        workflow_type: None,
        workflow_id: None,
        metadata: None,
        send_at: None,
        send_before: None,
        api_key_id: Uuid::nil(),
        request_id: "r-1".to_owned(),
        trace_context: None,
        created_at: clock::now(),
    }
}
