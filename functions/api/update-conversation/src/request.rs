//! The request body.

use common::db::conversations::Changes;
use common::domain::quiet_hours;
use common::http::{Fields, ValidationError};
use serde::Serialize;
use utoipa::ToSchema;

/// The longest workflow type and id, in characters, as for a message.
const MAX_WORKFLOW: usize = 255;
/// The longest status, in characters.
const MAX_STATUS: usize = 64;

/// Fields to change. Absent fields stay unchanged; `null` clears a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"workflow_type": "collections", "workflow_id": "case-17", "time_zone": "America/Chicago"}))]
pub struct ConversationChanges {
    /// Workflow of the conversation.
    #[schema(min_length = 1, max_length = 255)]
    pub workflow_type: Option<String>,
    /// Instance of the workflow.
    #[schema(min_length = 1, max_length = 255)]
    pub workflow_id: Option<String>,
    /// Status that your service defines, such as `waiting` or `closed`: lower-case letters, digits and underscores,
    /// starting with a letter. This service only stores it. `null` resets it to `open`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9_]{0,63}$")]
    pub conversation_status: Option<String>,
    /// IANA time zone of the recipient, used for quiet hours. `null` resets it to the time zone of the phone number.
    /// Messages that wait for the end of quiet hours are rescheduled within a minute.
    #[schema(example = "America/Chicago")]
    pub time_zone: Option<String>,
}

/// Parses the request body.
///
/// # Errors
///
/// [`ValidationError`] with all invalid fields.
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
        let rule = format!(
            "must be 1 to {MAX_STATUS} lower-case letters, digits and underscores, starting with a letter"
        );
        fields.problem("conversation_status", rule);
    }
    change
}

/// The same rule as in `migrations/0001_conversations_and_messages.sql`.
fn is_status(word: &str) -> bool {
    word.len() <= MAX_STATUS
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Reads a time zone in any case and returns the name of the IANA database.
fn time_zone(fields: &mut Fields) -> Option<Option<String>> {
    let Some(given) = fields.change("time_zone")? else { return Some(None) };
    let known = quiet_hours::zone_name(&given);
    if known.is_none() {
        fields.problem("time_zone", "is not an IANA time zone such as America/Chicago");
    }
    known.map(|name| Some(name.to_owned()))
}
