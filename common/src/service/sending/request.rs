//! The message of a request, and the idempotency key of a request.

use crate::domain::ids::ConversationId;
use crate::domain::message::{Priority, Purpose};
use crate::domain::metadata::Metadata;
use crate::domain::smart_encoding::SmartEncoding;
use crate::http::{Fields, HttpRequestExt, Request, ValidationError};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// The longest `Idempotency-Key`, in characters.
const MAX_KEY: usize = 255;

/// A message to send: `to`, and `body` or `media_urls` or both.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "(202) 555-0123", "body": "Your rent is due on the 1st."}))]
pub struct SendRequest {
    /// Recipient in any common format. Without a country code it is a number of the default region.
    pub to: String,
    /// Text of at most 1600 characters (Unicode scalar values).
    #[schema(max_length = 1600)]
    pub body: Option<String>,
    /// Conversation id. It must be the conversation with the recipient.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub conversation_id: Option<ConversationId>,
    /// Public URLs of files.
    #[schema(max_items = 10)]
    pub media_urls: Option<Vec<String>>,
    /// A configured number or messaging service. Default: the number that the conversation used last, else the
    /// messaging service, else the first number.
    pub from: Option<String>,
    /// Earliest time to send, RFC 3339.
    pub send_at: Option<Timestamp>,
    /// Latest time to send, RFC 3339. A message that was not sent by then fails.
    pub send_before: Option<Timestamp>,
    /// Workflow that requests the message; stored only.
    #[schema(max_length = 255)]
    pub workflow_type: Option<String>,
    /// Instance of the workflow; stored only.
    #[schema(max_length = 255)]
    pub workflow_id: Option<String>,
    /// Priority; default `normal`.
    pub priority: Option<Priority>,
    /// What the message is for; default `service`. Quiet hours depend on it, and do not apply to `emergency`.
    pub purpose: Option<Purpose>,
    /// Which characters to replace so that the text fits into GSM-7, whose segments have more than twice the characters
    /// of UCS-2. The text after the replacement is stored, sent and counted. Decomposed accents are always composed.
    pub smart_encoding: Option<SmartEncoding>,
    /// JSON object that is stored with the message. Numbers are stored as they are written; numbers with an exponent,
    /// with more than 100 digits, and negative zero are not allowed.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
}

impl SendRequest {
    /// Returns a message without content.
    #[must_use]
    pub fn to(to: String) -> Self {
        Self {
            to,
            body: None,
            conversation_id: None,
            media_urls: None,
            from: None,
            send_at: None,
            send_before: None,
            workflow_type: None,
            workflow_id: None,
            priority: None,
            purpose: None,
            smart_encoding: None,
            metadata: None,
        }
    }

    /// Reads the fields. Problems are recorded in `fields`.
    #[must_use]
    pub fn take(fields: &mut Fields) -> Self {
        Self {
            to: fields.required_text("to").unwrap_or_default(),
            body: fields.text("body"),
            conversation_id: fields.id("conversation_id").map(ConversationId::from),
            media_urls: fields.texts("media_urls"),
            from: fields.text("from"),
            send_at: fields.instant("send_at"),
            send_before: fields.instant("send_before"),
            workflow_type: fields.text("workflow_type"),
            workflow_id: fields.text("workflow_id"),
            priority: priority(fields),
            purpose: purpose(fields),
            smart_encoding: smart_encoding(fields),
            metadata: fields.object("metadata"),
        }
    }

    /// Returns the SHA-256 of the payload, independent of the order and spacing of its fields.
    ///
    /// # Errors
    ///
    /// None is expected: every field can be serialized.
    pub fn hash(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut value {
            // Absent fields are not hashed, so that a future field does not change the hash of old payloads.
            fields.retain(|_, value| !value.is_null());
            if let Some(metadata) = &self.metadata {
                fields.insert("metadata".to_owned(), metadata.exact());
            }
        }
        value.sort_all_objects();
        Ok(Sha256::digest(value.to_string()).to_vec())
    }
}

fn smart_encoding(fields: &mut Fields) -> Option<SmartEncoding> {
    match fields.text("smart_encoding")?.parse() {
        Ok(choice) => Some(choice),
        Err(error) => {
            fields.problem("smart_encoding", error.to_string());
            None
        }
    }
}

/// Reads `priority`. A problem is recorded in `fields`.
pub fn priority(fields: &mut Fields) -> Option<Priority> {
    let found = fields.text("priority")?.parse().ok();
    if found.is_none() {
        fields.problem("priority", "must be urgent, normal or bulk");
    }
    found
}

/// Reads `purpose`. A problem is recorded in `fields`.
pub fn purpose(fields: &mut Fields) -> Option<Purpose> {
    let found = fields.text("purpose")?.parse().ok();
    if found.is_none() {
        fields.problem("purpose", "must be service, marketing or emergency");
    }
    found
}

/// Returns the `Idempotency-Key` if it is valid, or adds a problem.
#[must_use]
pub fn idempotency_key(request: &Request, problems: &mut ValidationError) -> Option<String> {
    let key = request.header("idempotency-key")?;
    if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Some(key.to_owned());
    }
    problems.add("Idempotency-Key", format!("must be 1 to {MAX_KEY} printable ASCII characters"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(body: &str) -> Vec<u8> {
        let mut fields = Fields::from_slice(body.as_bytes()).unwrap();
        let request = SendRequest::take(&mut fields);
        assert!(fields.finish().is_empty());
        request.hash().unwrap()
    }

    #[test]
    fn the_hash_does_not_depend_on_order_and_spacing() {
        let first = hash(
            r#"{"to":"1","body":"x","metadata":{"a":{"x":1,"y":2},"b":2},"send_at":"2027-01-01T00:00:00Z"}"#,
        );
        let other = hash(
            r#"{ "metadata": {"b":2, "a":{"y":2,"x":1}}, "from": null, "body":"\u0078", "to":"1",
                "send_at":"2027-01-01T02:00:00+02:00"}"#,
        );
        assert_eq!(first, other);
    }

    #[test]
    fn different_payloads_have_different_hashes() {
        let first = hash(r#"{"to":"1","body":"x"}"#);
        for other in [
            r#"{"to":"1","body":"X"}"#,
            r#"{"to":"1","body":"x "}"#,
            r#"{"to":"1","body":"x","priority":"normal"}"#,
            r#"{"to":"x","body":"1"}"#,
            r#"{"to":"1","body":"x","media_urls":[]}"#,
            r#"{"to":"1","body":"x","metadata":{}}"#,
        ] {
            assert_ne!(hash(other), first, "{other}");
        }
    }

    #[test]
    fn numbers_that_are_equal_as_doubles_have_different_hashes() {
        let of = |number: &str| hash(&format!(r#"{{"to":"1","body":"x","metadata":{{"a":{number}}}}}"#));
        assert_ne!(of("123456789012345678901234567890"), of("123456789012345678901234567891"));
        assert_ne!(of("9007199254740993.0"), of("9007199254740992.0"));
        assert_ne!(of("1.1"), of("\"1.1\""));
    }
}
