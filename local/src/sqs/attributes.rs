//! What a queue is told about itself.

use super::SqsError;
use super::store::QueueAttributes;

/// A queue's attributes that can be set, with their defaults and bounds in seconds or bytes.
const SETTABLE: [(&str, i64, i64, i64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 1_048_576, 1024, 1_048_576),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];
/// Attributes that are kept and given back, and change nothing here.
const KEPT: [&str; 6] = [
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];
/// What a queue has that was told nothing.
pub(super) fn defaults() -> QueueAttributes {
    SETTABLE.iter().map(|(key, default, ..)| ((*key).to_owned(), default.to_string())).collect()
}

/// A queue's setting; every queue has them all from its creation.
pub(super) fn setting(attributes: &QueueAttributes, name: &str) -> i64 {
    let default = SETTABLE.iter().find(|(key, ..)| *key == name).map_or(0, |(_, default, ..)| *default);
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Refuses what SQS does not know, or has other bounds for.
pub(super) fn checked(attributes: QueueAttributes) -> Result<QueueAttributes, SqsError> {
    for (name, value) in &attributes {
        match SETTABLE.iter().find(|(key, ..)| key == name) {
            Some((_, _, least, most)) => {
                let valid = value.parse::<i64>().is_ok_and(|value| (*least..=*most).contains(&value));
                if !valid {
                    return Err(SqsError::InvalidAttributeValue(name.clone()));
                }
            }
            None if KEPT.contains(&name.as_str()) => {}
            None => return Err(SqsError::InvalidAttributeName(name.clone())),
        }
    }
    Ok(attributes)
}
