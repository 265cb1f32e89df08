//! Batch actions with up to ten entries, each of which succeeds or fails on its own.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::SqsError;
use super::actions::parse;
use super::message::Outgoing;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<T> {
    #[serde(default = "Vec::new")]
    entries: Vec<T>,
}

/// An entry of a batch.
pub(super) trait Entry {
    fn id(&self) -> &str;
}

impl Entry for Outgoing {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Parses a batch and applies SQS's limits.
pub(super) fn entries<T: DeserializeOwned + Entry>(
    input: Value,
    action: &'static str,
) -> Result<Vec<T>, SqsError> {
    let entries = parse::<Batch<T>>(input)?.entries;
    if entries.is_empty() {
        return Err(SqsError::EmptyBatchRequest(action));
    }
    if entries.len() > 10 {
        return Err(SqsError::TooManyEntriesInBatchRequest(entries.len()));
    }
    let mut seen = HashSet::new();
    for id in entries.iter().map(Entry::id) {
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 80 || !id.chars().all(is_id) {
            return Err(SqsError::InvalidBatchEntryId);
        }
        if !seen.insert(id) {
            return Err(SqsError::BatchEntryIdsNotDistinct(id.to_owned()));
        }
    }
    Ok(entries)
}

/// Processes each entry on its own and returns the result of each.
pub(super) fn batch<T: Entry>(entries: &[T], mut act: impl FnMut(&T) -> Result<Value, SqsError>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match act(entry) {
            Ok(mut output) => {
                output["Id"] = entry.id().into();
                successful.push(output);
            }
            Err(error) => {
                let (code, _) = error.codes();
                failed.push(json!({
                    "Id": entry.id(),
                    "SenderFault": !matches!(error, SqsError::Internal(_)),
                    "Code": code,
                    "Message": error.to_string(),
                }));
            }
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}
