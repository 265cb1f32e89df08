//! The request body.

use common::db::consent::Consent;
use common::domain::opt_out::OptOutAction;
use common::http::{Fields, ValidationError};
use common::service::consent;
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
    let consent = consent::stated(&mut fields, api_key_id);
    fields.finish_with(consent)
}
