//! The request body.

use common::db::consent::Consent;
use common::domain::opt_out::OptOutAction;
use common::http::{Fields, ValidationError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest source, in characters.
const MAX_SOURCE: usize = 100;
/// The longest evidence, in characters.
const MAX_EVIDENCE: usize = 2_000;

/// Consent that was given or revoked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"action": "opt_out", "source": "paper", "evidence": "Letter of 2026-11-20, scan 4711"}))]
pub struct ConsentRequest {
    /// `opt_out` or `opt_in`.
    pub action: OptOutAction,
    /// How it was stated, such as `paper`, `phone` or `mail`.
    #[schema(min_length = 1, max_length = 100)]
    pub source: String,
    /// What proves it, such as the place of a document. It stays in the ledger when the conversation's content is
    /// erased.
    #[schema(min_length = 1, max_length = 2000)]
    pub evidence: String,
    /// What it applies to. Only `all`, which is the default.
    #[schema(pattern = "^all$")]
    pub scope: Option<String>,
}

/// Parses the request body.
///
/// # Errors
///
/// [`ValidationError`] with all invalid fields.
pub(crate) fn consent(body: &[u8], api_key_id: Uuid) -> Result<Consent, ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let action = action(&mut fields);
    let source = text(&mut fields, "source", MAX_SOURCE);
    let evidence = text(&mut fields, "evidence", MAX_EVIDENCE);
    if fields.text("scope").is_some_and(|scope| scope != "all") {
        fields.problem("scope", "must be all: an entry applies to all messages to the number");
    }
    let consent = action.zip(source).zip(evidence);
    fields.finish_with(consent.map(|((action, source), evidence)| Consent {
        action,
        source,
        evidence,
        api_key_id,
    }))
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
