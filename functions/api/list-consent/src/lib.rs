//! GET /conversations/{phone_number}/consent: returns the opt-outs and opt-ins of a number, with their evidence.
//!
//! Reads Postgres (`sms_conversations`, `sms_opt_out_events`).

pub use common::service::conversation::{App, Config};

use common::db::consent;
use common::http::{self, ApiError, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::consent::ConsentEntry;
use serde::Serialize;
use utoipa::ToSchema;

/// How many entries are returned.
const MAX_ENTRIES: i64 = 1_000;

/// The consent of a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsentLedger {
    /// Whether the number has opted out of all messages.
    pub opted_out: bool,
    /// What it has opted out of besides: `workflow:` with a workflow type, or `purpose:` with a purpose. Absent if
    /// there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub opted_out_scopes: Vec<String>,
    /// The ledger, newest first: the latest 1,000 entries.
    pub entries: Vec<ConsentEntry>,
}

/// Returns the consent of a number.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid number, 403, 404, or 503 when Postgres is unavailable.
#[utoipa::path(
    get, path = "/conversations/{phone_number}/consent", tag = "consent",
    operation_id = "list_consent",
    summary = "List the opt-outs and opt-ins of a number",
    description = "Returns whether a number has opted out, and the latest 1,000 entries of its ledger with their \
        evidence. Scope: `conversations:read`.",
    params(("phone_number" = String, Path, description = "Phone number in any common format, or a short code or \
        alphanumeric sender; percent-encoded.", example = "+12035550123")),
    responses(
        (status = 200, description = "The ledger.", body = ConsentLedger, example = json!({
            "opted_out": true, "entries": [{
                "action": "opt_out", "scope": "all", "source": "keyword",
                "evidence": "SM00000000000000000000000000000001",
                "recorded_at": "2026-11-20T15:04:05Z", "recorded_by": null
            }]
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:read"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsRead).await?;
    let variants = app.variants(request)?;
    let ledger = consent::ledger(&app.db, app.account_sid(), &variants, MAX_ENTRIES).await?;
    let ledger = ledger.ok_or(ApiError::NotFound("the conversation"))?;
    let entries = ledger.entries.into_iter().map(ConsentEntry::from).collect();
    let consent =
        ConsentLedger { opted_out: ledger.is_opted_out, opted_out_scopes: ledger.opted_out_scopes, entries };
    http::json(StatusCode::OK, &consent)
}
