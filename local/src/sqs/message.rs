//! Outgoing messages: validation and MD5 digests.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::SqsError;

/// SQS's maximum size of a message or batch: 1 MiB since August 2025 (256 KiB before).
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The maximum delay, in seconds.
const MAX_DELAY_SECONDS: i64 = 900;
/// The maximum number of attributes of a message.
const MAX_ATTRIBUTES: usize = 10;

/// A message attribute in the wire format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attribute {
    pub data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

pub(super) type Attributes = BTreeMap<String, Attribute>;

/// The input of `SendMessage`, or an entry of `SendMessageBatch`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Outgoing {
    #[serde(default)]
    pub id: String,
    pub message_body: Option<String>,
    pub delay_seconds: Option<i64>,
    pub message_group_id: Option<String>,
    #[serde(default)]
    pub message_attributes: Attributes,
    #[serde(default)]
    pub message_system_attributes: Attributes,
}

impl Outgoing {
    /// Returns the size for SQS's limits: the body and the attributes' names, types and values.
    pub(super) fn size(&self) -> usize {
        let attributes = self.message_attributes.iter().map(|(name, attribute)| {
            let value = attribute.bytes().map_or(0, |value| value.len());
            name.len() + attribute.data_type.len() + value
        });
        self.message_body.as_deref().unwrap_or_default().len() + attributes.sum::<usize>()
    }

    /// Validates the message and returns the body.
    pub(super) fn validate(&self, limit: usize) -> Result<&str, SqsError> {
        let body = self.message_body.as_deref().filter(|body| !body.is_empty());
        let body = body.ok_or(SqsError::MissingParameter("MessageBody"))?;
        if self.size() > limit {
            let reason = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
            );
            return Err(SqsError::InvalidParameterValue(reason));
        }
        if !body.chars().all(is_allowed) {
            return Err(SqsError::InvalidMessageContents);
        }
        if let Some(delay) = self.delay_seconds.filter(|delay| !(0..=MAX_DELAY_SECONDS).contains(delay)) {
            let reason = format!(
                "Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= \
                    {MAX_DELAY_SECONDS}."
            );
            return Err(SqsError::InvalidParameterValue(reason));
        }
        let is_group = |group: &str| {
            !group.is_empty() && group.len() <= 128 && group.bytes().all(|b| b.is_ascii_graphic())
        };
        if !self.message_group_id.as_deref().is_none_or(is_group) {
            let reason = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.";
            return Err(SqsError::InvalidParameterValue(reason.to_owned()));
        }
        if self.message_attributes.len() > MAX_ATTRIBUTES {
            let reason = format!(
                "Number of message attributes [{}] exceeds the allowed maximum [10].",
                self.message_attributes.len()
            );
            return Err(SqsError::InvalidParameterValue(reason));
        }
        for (name, attribute) in &self.message_attributes {
            attribute.validate(name)?;
        }
        Ok(body)
    }
}

impl Attribute {
    fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(binary)) => STANDARD.decode(binary).ok(),
            _ => None,
        }
    }

    fn validate(&self, name: &str) -> Result<(), SqsError> {
        let invalid = |reason: String| Err(SqsError::InvalidParameterValue(reason));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 256 || !name.chars().all(is_name) {
            return invalid(format!("The message attribute name '{name}' is invalid."));
        }
        let kind = self.data_type.split('.').next().unwrap_or_default();
        let matches = match kind {
            "String" => self.string_value.as_ref().is_some_and(|text| text.chars().all(is_allowed)),
            "Number" => self.string_value.as_ref().is_some_and(|text| text.parse::<f64>().is_ok()),
            "Binary" => self.binary_value.is_some(),
            _ => {
                return invalid(format!(
                    "The type of message (user) attribute '{name}' is invalid. You must use only the following \
                     supported type prefixes: Binary, Number, String."
                ));
            }
        };
        if !matches || self.bytes().is_none_or(|value| value.is_empty()) {
            return invalid(format!(
                "The message attribute '{name}' must contain a non-empty value of its type."
            ));
        }
        Ok(())
    }
}

/// Returns whether XML 1.0 allows the character.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Returns the hex MD5 of a body.
pub(super) fn md5_of_body(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// Returns the hex MD5 of message attributes as SQS defines it.
///
/// The digest covers, sorted by name, the name, type, one byte for the transport type, and value of each attribute. A
/// four-byte length precedes each string.
pub(super) fn md5_of_attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    let add = |digest: &mut Md5, bytes: &[u8]| {
        digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(bytes);
    };
    for (name, attribute) in attributes {
        add(&mut digest, name.as_bytes());
        add(&mut digest, attribute.data_type.as_bytes());
        digest.update([if attribute.binary_value.is_some() { 2 } else { 1 }]);
        add(&mut digest, &attribute.bytes().unwrap_or_default());
    }
    Some(hex::encode(digest.finalize()))
}
