//! The request body.

use crate::RejectedRow;
use crate::table;
use common::db::consent::Consent;
use common::domain::opt_out::OptOutAction;
use common::http::{Fields, ValidationError};
use common::service::consent::{self, ConsentScopes, RequestedConsent};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

/// The maximum number of rows.
pub(crate) const MAX_ROWS: usize = 10_000;

/// Consent that was given or revoked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"rows": [
    {"phone_number": "+12035550123", "action": "opt_out", "source": "paper",
        "evidence": "Letter of 2026-11-20, scan 4711"},
    {"phone_number": "(203) 555-0124", "action": "opt_in", "source": "web", "evidence": "Form 17"}
]}))]
pub struct ConsentImportRequest {
    /// The rows. They apply in this order.
    #[schema(max_items = 10000)]
    pub rows: Vec<ConsentImportRow>,
}

/// Consent for a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentImportRow {
    /// Phone number in any common format. A short code or alphanumeric sender needs a conversation.
    pub phone_number: String,
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

/// The fields of a row, or why it has none.
pub(crate) type Entry = Result<Fields, ValidationError>;

/// A valid row.
pub(crate) struct Row {
    /// Its position in the request, from 1.
    pub(crate) number: usize,
    /// The phone number as it is spelled.
    pub(crate) phone_number: String,
    pub(crate) consent: Consent,
    /// Whether it applies to all messages because its scope is not configured.
    pub(crate) is_widened: bool,
}

/// The rows of a request.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) valid: Vec<Row>,
    pub(crate) rejected: Vec<RejectedRow>,
}

/// Parses the request body: CSV if its type says so, else JSON like all requests.
///
/// # Errors
///
/// [`ValidationError`] when the document cannot be read or has too many rows. A problem of a row is recorded in the
/// result.
pub(crate) fn rows(
    content_type: Option<&str>,
    body: &[u8],
    api_key_id: Uuid,
    scopes: ConsentScopes,
) -> Result<Rows, ValidationError> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let entries = if media_type.eq_ignore_ascii_case("text/csv") { table::entries(body) } else { list(body) };
    let mut rows = Rows::default();
    for (number, entry) in (1..).zip(entries?) {
        match entry.and_then(|fields| row(fields, api_key_id, scopes)) {
            Ok((phone_number, RequestedConsent { consent, is_widened })) => {
                rows.valid.push(Row { number, phone_number, consent, is_widened });
            }
            Err(problems) => rows.rejected.push(RejectedRow::new(number, &problems)),
        }
    }
    Ok(rows)
}

/// Reads the list `rows` of a JSON object.
fn list(body: &[u8]) -> Result<Vec<Entry>, ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let rows = fields.list("rows");
    match &rows {
        Some(rows) if rows.len() > MAX_ROWS => return Err(too_many()),
        Some(_) => {}
        None => fields.missing("rows"),
    }
    let rows = fields.finish_with(rows)?;
    Ok(rows.iter().map(|raw| entry(raw)).collect())
}

fn entry(raw: &RawValue) -> Entry {
    Fields::from_slice(raw.get().as_bytes())
        .map_err(|_| ValidationError::field("row", "is not a JSON object"))
}

fn row(
    mut fields: Fields,
    api_key_id: Uuid,
    scopes: ConsentScopes,
) -> Result<(String, RequestedConsent), ValidationError> {
    let phone_number = fields.required_text("phone_number");
    let consent = consent::stated(&mut fields, api_key_id, scopes);
    fields.finish_with(phone_number.zip(consent))
}

/// The error for a request with too many rows.
pub(crate) fn too_many() -> ValidationError {
    ValidationError::field("rows", format!("has more than {MAX_ROWS} rows"))
}
