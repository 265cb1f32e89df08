//! The request body.

use common::domain::opt_out::OptOutAction;
use common::http::{Fields, ValidationError};
use common::service::consent::{self, ConsentScopes, RequestedConsent};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

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
    /// Which messages: `all`, which is the default; `workflow:` with a `workflow_type`, such as `workflow:collections`;
    /// or `purpose:` with `service`, `marketing` or `emergency`. If such scopes are not configured, an opt-out applies
    /// to all messages, and an opt-in with one is refused.
    #[schema(pattern = "^(all|workflow:.+|purpose:(service|marketing|emergency))$")]
    pub scope: Option<String>,
}

/// Parses the request body.
///
/// # Errors
///
/// [`ValidationError`] with all invalid fields.
pub(crate) fn consent(
    body: &[u8],
    api_key_id: Uuid,
    scopes: ConsentScopes,
) -> Result<RequestedConsent, ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let consent = consent::stated(&mut fields, api_key_id, scopes);
    fields.finish_with(consent)
}
