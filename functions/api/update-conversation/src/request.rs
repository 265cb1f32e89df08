//! What a caller wants changed.

use common::db::conversations::Changes;
use common::domain::quiet_hours;
use common::http::{Fields, ValidationError};
use serde::Serialize;
use utoipa::ToSchema;

/// The longest name of a workflow and of its instance, in characters, as for a message.
const MAX_WORKFLOW: usize = 255;
/// The longest status, in characters.
const MAX_STATUS: usize = 64;

/// What is to be changed: a field that is left out stays as it is, `null` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"workflow_type": "collections", "workflow_id": "case-17", "time_zone": "America/Chicago"}))]
pub struct ConversationChanges {
    /// The workflow that the conversation is part of.
    #[schema(min_length = 1, max_length = 255)]
    pub workflow_type: Option<String>,
    /// That workflow's instance.
    #[schema(min_length = 1, max_length = 255)]
    pub workflow_id: Option<String>,
    /// Where the conversation stands, in a word of your own, such as `waiting` or `closed`: lower-case letters, digits and
    /// underscores, a letter first. This service draws nothing from it. Cleared, it is `open`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9_]{0,63}$")]
    pub conversation_status: Option<String>,
    /// Where the recipient's clock is: an IANA time zone. Quiet hours go by it; cleared, they go by the number. What waits
    /// for the end of quiet hours by another clock is looked at again within a minute.
    #[schema(example = "America/Chicago")]
    pub time_zone: Option<String>,
}

/// Reads a request's body.
///
/// # Errors
///
/// [`ValidationError`] with every field at fault.
pub(crate) fn changes(body: &[u8]) -> Result<Changes, ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let changes = Changes {
        workflow_type: workflow(&mut fields, "workflow_type"),
        workflow_id: workflow(&mut fields, "workflow_id"),
        conversation_status: status(&mut fields),
        time_zone: time_zone(&mut fields),
    };
    fields.finish_with(Some(changes))
}

fn workflow(fields: &mut Fields, name: &str) -> Option<Option<String>> {
    let change = fields.change(name);
    if let Some(Some(word)) = &change {
        if word.trim().is_empty() {
            fields.problem(name, "is blank; null clears it");
        } else if word.chars().count() > MAX_WORKFLOW {
            fields.problem(name, format!("has more than {MAX_WORKFLOW} characters"));
        }
    }
    change
}

fn status(fields: &mut Fields) -> Option<Option<String>> {
    let change = fields.change("conversation_status");
    if change.iter().flatten().any(|word| !is_status(word)) {
        let rule =
            format!("must be 1 to {MAX_STATUS} lower-case letters, digits and underscores, a letter first");
        fields.problem("conversation_status", rule);
    }
    change
}

/// As `migrations/0012_conversation_settings.sql` has it.
fn is_status(word: &str) -> bool {
    word.len() <= MAX_STATUS
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Takes a zone in the spelling of the IANA's database, whatever its case was.
fn time_zone(fields: &mut Fields) -> Option<Option<String>> {
    let Some(given) = fields.change("time_zone")? else { return Some(None) };
    let known = quiet_hours::zone_name(&given);
    if known.is_none() {
        fields.problem("time_zone", "is not a time zone of the IANA's, such as America/Chicago");
    }
    known.map(|name| Some(name.to_owned()))
}
