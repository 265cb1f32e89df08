//! Queue attributes: defaults, bounds and validation.

use super::SqsError;
use super::store::QueueAttributes;

/// Settable attributes with default, minimum and maximum, in seconds or bytes.
const SETTABLE: [(&str, i64, i64, i64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 1_048_576, 1024, 1_048_576),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];
/// Attributes that are stored and returned but have no effect here.
const IGNORED: [&str; 6] = [
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];

/// Returns the attributes of a queue created without any.
pub(super) fn defaults() -> QueueAttributes {
    SETTABLE.iter().map(|(key, default, ..)| ((*key).to_owned(), default.to_string())).collect()
}

/// Returns the value of a numeric attribute.
pub(super) fn attribute(attributes: &QueueAttributes, name: &str) -> i64 {
    let default = SETTABLE.iter().find(|(key, ..)| *key == name).map_or(0, |(_, default, ..)| *default);
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Rejects attributes that SQS does not know, and values out of bounds.
pub(super) fn validate(attributes: QueueAttributes) -> Result<QueueAttributes, SqsError> {
    for (name, value) in &attributes {
        match SETTABLE.iter().find(|(key, ..)| key == name) {
            Some((_, _, min, max)) => {
                let valid = value.parse::<i64>().is_ok_and(|value| (*min..=*max).contains(&value));
                if !valid {
                    return Err(SqsError::InvalidAttributeValue(name.clone()));
                }
            }
            None if IGNORED.contains(&name.as_str()) => {}
            None => return Err(SqsError::InvalidAttributeName(name.clone())),
        }
    }
    Ok(attributes)
}
