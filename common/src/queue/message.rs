//! What travels on the queues: versioned, so that old messages can be read by new functions while both run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A webhook that was proven genuine, on `[inbound]` or `[status]`, and the same in the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum WebhookMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(WebhookV1),
}

/// The whole form of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookV1 {
    /// When the webhook function received it.
    pub received_at: Timestamp,
    /// All pairs of the form, verbatim and in order, percent-encoded: SQS refuses some characters that a form may
    /// hold, and ASCII is never among them.
    pub form: String,
    /// The query string of the URL that Twilio called, for the parameters that our own callback URL carried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Twilio's `I-Twilio-Idempotency-Token`: the same on all tries of one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_token: Option<String>,
}

/// A message to be sent, on `[outbound]`: only its id, since its row is the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum DispatchMessage {
    /// The first version.
    #[serde(rename = "1")]
    V1(DispatchV1),
}

/// Which message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchV1 {
    /// The message's row.
    pub message_id: Uuid,
}

impl DispatchMessage {
    /// Asks for a message to be sent.
    #[must_use]
    pub fn new(message_id: Uuid) -> Self {
        Self::V1(DispatchV1 { message_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_forms_stay_as_they_are() {
        let webhook = WebhookMessage::V1(WebhookV1 {
            received_at: Timestamp::UNIX_EPOCH,
            form: "MessageSid=SM1&Body=a%00b".to_owned(),
            query: String::new(),
            idempotency_token: None,
        });
        insta::assert_snapshot!(
            serde_json::to_string(&webhook).unwrap(),
            @r#"{"version":"1","received_at":"1970-01-01T00:00:00Z","form":"MessageSid=SM1&Body=a%00b"}"#
        );
        let dispatch = DispatchMessage::new(Uuid::nil());
        insta::assert_snapshot!(
            serde_json::to_string(&dispatch).unwrap(),
            @r#"{"version":"1","message_id":"00000000-0000-0000-0000-000000000000"}"#
        );
    }

    #[test]
    fn a_version_of_the_future_is_refused_rather_than_misread() {
        let error = serde_json::from_str::<DispatchMessage>(r#"{"version":"2","message_id":1}"#).unwrap_err();
        assert!(error.to_string().contains("unknown variant `2`"), "{error}");
    }
}
