//! What the endpoints of consent share: the fields of a request, and an entry of the ledger.

use crate::config::Env;
use crate::db::consent::{self, Consent};
use crate::domain::opt_out::{ConsentScope, InvalidScope, OptOutAction};
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

/// Which scopes an opt-out can have, read from the environment: `CONSENT_SCOPES` (none), a list of `workflow` and
/// `purpose`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsentScopes {
    workflow: bool,
    purpose: bool,
}

impl ConsentScopes {
    /// Reads the list.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let names = env.optional_list("CONSENT_SCOPES")?;
        if names.iter().any(|name| !matches!(name.as_str(), "workflow" | "purpose")) {
            env.problem("CONSENT_SCOPES has an entry that is neither workflow nor purpose");
            return None;
        }
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        Some(Self { workflow: has("workflow"), purpose: has("purpose") })
    }

    const fn allows(self, scope: &ConsentScope) -> bool {
        match scope {
            ConsentScope::All => true,
            ConsentScope::Workflow(_) => self.workflow,
            ConsentScope::Purpose(_) => self.purpose,
        }
    }
}

/// Consent of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedConsent {
    /// What is recorded.
    pub consent: Consent,
    /// Whether it is an opt-out that applies to all messages because its scope is not configured.
    pub is_widened: bool,
}

/// Reads consent that a caller states: `action`, `source`, `evidence` and `scope`. Problems are recorded in `fields`.
/// Returns `None` if a required field is missing or invalid.
///
/// If a scope is not configured, an opt-out applies to all messages, and an opt-in is a problem: it must not allow more
/// than was stated.
pub fn stated(fields: &mut Fields, api_key_id: Uuid, scopes: ConsentScopes) -> Option<RequestedConsent> {
    let action = action(fields);
    let source = text(fields, "source", MAX_SOURCE);
    let evidence = text(fields, "evidence", MAX_EVIDENCE);
    let stated = scope(fields);
    let (action, source, evidence, stated) = (action?, source?, evidence?, stated?);
    let is_configured = scopes.allows(&stated);
    if !is_configured && action == OptOutAction::OptIn {
        fields.problem("scope", "is not in CONSENT_SCOPES, so that an opt-in can only apply to all messages");
        return None;
    }
    let scope = if is_configured { stated } else { ConsentScope::All };
    let consent = Consent { action, scope, source, evidence, api_key_id };
    Some(RequestedConsent { consent, is_widened: !is_configured })
}

fn scope(fields: &mut Fields) -> Option<ConsentScope> {
    match fields.text("scope") {
        Some(text) => {
            text.parse().map_err(|error: InvalidScope| fields.problem("scope", error.to_string())).ok()
        }
        None if fields.has_problem("scope") => None,
        None => Some(ConsentScope::All),
    }
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
    /// Which messages: `all`, `workflow:` with a workflow type, or `purpose:` with a purpose.
    pub scope: String,
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
        let consent::Entry { action, scope, source, evidence, recorded_at, recorded_by } = entry;
        Self { action, scope, source, evidence, recorded_at, recorded_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(list: &str) -> Result<ConsentScopes, String> {
        let lookup = |_: &str| Some(list.to_owned());
        let mut env = Env::new(&lookup);
        let scopes = ConsentScopes::from_env(&mut env);
        env.finish(|| scopes).map_err(|error| error.to_string())
    }

    #[test]
    fn scopes_are_off_or_listed() {
        assert_eq!(scopes(""), Ok(ConsentScopes::default()));
        assert_eq!(scopes("purpose"), Ok(ConsentScopes { workflow: false, purpose: true }));
        assert_eq!(scopes("workflow, purpose"), Ok(ConsentScopes { workflow: true, purpose: true }));
        let problem =
            "invalid configuration: CONSENT_SCOPES has an entry that is neither workflow nor purpose";
        assert_eq!(scopes("workflow,tenant"), Err(problem.to_owned()));
    }
}
