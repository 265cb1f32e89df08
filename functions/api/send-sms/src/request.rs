//! What a caller asks for, as it comes.

use common::domain::message::Priority;
use common::domain::metadata::Metadata;
use common::domain::smart_encoding::SmartEncoding;
use common::http::{Fields, Request, ValidationError};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest `Idempotency-Key`, in characters (SPEC §6).
const MAX_KEY: usize = 255;

/// A message to be sent: `to`, and a `body` or `media_urls` or both.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "(202) 555-0123", "body": "Your rent is due on the 1st."}))]
pub struct SendRequest {
    /// The recipient, in any spelling; without a country code it is read as a number of the default region.
    pub to: String,
    /// The text: at most 1600 characters (Unicode scalar values).
    #[schema(max_length = 1600)]
    pub body: Option<String>,
    /// The conversation that the caller takes this message to belong to: it must be the recipient's.
    pub conversation_id: Option<Uuid>,
    /// Public addresses of files.
    #[schema(max_items = 10)]
    pub media_urls: Option<Vec<String>>,
    /// One of our numbers, or our messaging service; left out, the service or else our first number sends.
    pub from: Option<String>,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// Not after: what was not handed over by then fails.
    pub send_before: Option<Timestamp>,
    /// The workflow that asks, for its own use.
    #[schema(max_length = 255)]
    pub workflow_type: Option<String>,
    /// That workflow's instance.
    #[schema(max_length = 255)]
    pub workflow_id: Option<String>,
    /// How urgent it is; `normal` when left out.
    pub priority: Option<Priority>,
    /// Which characters may be replaced that alone would make the text UCS-2, at less than half the room. What is stored
    /// and sent, and what the answer counts, is the text after that. Decomposed accents are always composed.
    pub smart_encoding: Option<SmartEncoding>,
    /// Whatever the caller wants kept with the message. Its numbers are kept as they are written; those with an exponent,
    /// a negative zero and more than 100 digits are refused.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
}

impl SendRequest {
    /// Takes the fields, noting those of a wrong type.
    pub(crate) fn take(fields: &mut Fields) -> Self {
        Self {
            to: fields.required_text("to").unwrap_or_default(),
            body: fields.text("body"),
            conversation_id: fields.id("conversation_id"),
            media_urls: fields.texts("media_urls"),
            from: fields.text("from"),
            send_at: fields.instant("send_at"),
            send_before: fields.instant("send_before"),
            workflow_type: fields.text("workflow_type"),
            workflow_id: fields.text("workflow_id"),
            priority: priority(fields),
            smart_encoding: smart_encoding(fields),
            metadata: fields.object("metadata"),
        }
    }

    /// Returns the SHA-256 that tells this payload from another, whatever the order and spacing of its fields.
    pub(crate) fn hash(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut value {
            // So that a field of the future, left out, changes nothing.
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

fn priority(fields: &mut Fields) -> Option<Priority> {
    let word = fields.text("priority")?;
    let found = Priority::ALL.into_iter().find(|priority| priority.as_str() == word);
    if found.is_none() {
        fields.problem("priority", "must be urgent, normal or bulk");
    }
    found
}

/// Returns the `Idempotency-Key`, if there is one that can be taken.
pub(crate) fn idempotency_key(request: &Request, problems: &mut ValidationError) -> Option<String> {
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
    fn a_payload_is_the_same_in_any_order_and_spacing() {
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
    fn another_payload_has_another_hash() {
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
    fn two_numbers_are_two_payloads_even_where_a_double_has_one_for_both() {
        let of = |number: &str| hash(&format!(r#"{{"to":"1","body":"x","metadata":{{"a":{number}}}}}"#));
        assert_ne!(of("123456789012345678901234567890"), of("123456789012345678901234567891"));
        assert_ne!(of("9007199254740993.0"), of("9007199254740992.0"));
        assert_ne!(of("1.1"), of("\"1.1\""));
    }
}
