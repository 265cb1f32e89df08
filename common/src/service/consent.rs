//! What the endpoints of consent share: the fields of a request, and an entry of the ledger.

use crate::db::consent::{self, Consent};
use crate::domain::opt_out::OptOutAction;
use crate::domain::phone::PhoneError;
use crate::http::{Fields, ValidationError};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest source, in characters.
const MAX_SOURCE: usize = 100;
/// The longest evidence, in characters.
const MAX_EVIDENCE: usize = 2_000;

/// Reads consent that a caller states: `action`, `source`, `evidence` and `scope`. Problems are recorded in `fields`.
/// Returns `None` if a required field is missing or the action is unknown.
pub fn stated(fields: &mut Fields, api_key_id: Uuid) -> Option<Consent> {
    let action = action(fields);
    let source = text(fields, "source", MAX_SOURCE);
    let evidence = text(fields, "evidence", MAX_EVIDENCE);
    if fields.text("scope").is_some_and(|scope| scope != "all") {
        fields.problem("scope", "must be all: an entry applies to all messages to the number");
    }
    let consent = action.zip(source).zip(evidence);
    consent.map(|((action, source), evidence)| Consent { action, source, evidence, api_key_id })
}

fn action(fields: &mut Fields) -> Option<OptOutAction> {
    let found = fields.required_text("action")?.parse().ok();
    if found.is_none() {
        fields.problem("action", "must be opt_out or opt_in");
    }
    found
}

fn text(fields: &mut Fields, name: &str, max: usize) -> Option<String> {
    let text = fields.required_text(name)?;
    if text.trim().is_empty() {
        fields.problem(name, "is blank");
    } else if text.chars().count() > max {
        fields.problem(name, format!("has more than {max} characters"));
    }
    Some(text)
}

/// The error for a number that has no conversation, and to which a message could not be sent either.
#[must_use]
pub fn no_number(refusal: Option<PhoneError>) -> ValidationError {
    let reason = refusal.map(|refusal| format!(": {refusal}")).unwrap_or_default();
    ValidationError::field("phone_number", format!("has no conversation and can't receive messages{reason}"))
}

/// An entry of the consent ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsentEntry {
    /// Whether messages are refused or allowed from then on.
    pub action: OptOutAction,
    /// Always `all`: an entry applies to all messages to the number.
    pub scope: &'static str,
    /// How it was stated, or how this service detected it: `keyword`, `free_text`, `opt_out_type` or `twilio_error`.
    pub source: String,
    /// What proves it: as it was stated, or the SID of the message or callback.
    pub evidence: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Id of the API key that recorded it; null if this service detected it.
    pub recorded_by: Option<Uuid>,
}

impl From<consent::Entry> for ConsentEntry {
    fn from(entry: consent::Entry) -> Self {
        let consent::Entry { action, source, evidence, recorded_at, recorded_by } = entry;
        Self { action, scope: "all", source, evidence, recorded_at, recorded_by }
    }
}
