//! POST /conversations/{phone_number}/consent: records consent that was given or revoked on paper, by phone or by mail.
//!
//! Reads and writes Postgres (`sms_opt_out_events`, `sms_conversations`, `sms_events_pending`) in one transaction.
//! After an opt-out was recorded, no call to Twilio for the number starts.

mod request;

pub use common::service::conversation::{App, Config};
pub use request::ConsentRequest;

use common::clock;
use common::db::consent;
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::consent::{ConsentEntry, no_number};

/// Records consent.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 413, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/conversations/{phone_number}/consent", tag = "consent",
    operation_id = "record_consent",
    summary = "Record an opt-out or opt-in",
    description = "Records consent that was given or revoked elsewhere, and returns its entry in the ledger. An \
        opt-out stops all messages to the number from then on. A number without a conversation gets one. If the latest \
        entry of the number states the same, it is returned again and nothing changes, so a request can be repeated. \
        An opt-in does not end a block by Twilio after a STOP: the recipient must text START. \
        Scope: `conversations:write`.",
    params(("phone_number" = String, Path, description = "Phone number in any common format, or a short code or \
        alphanumeric sender; percent-encoded.", example = "+12035550123")),
    request_body = ConsentRequest,
    responses(
        (status = 201, description = "The entry.", body = ConsentEntry, example = json!({
            "action": "opt_out", "scope": "all", "source": "paper", "evidence": "Letter of 2026-11-20, scan 4711",
            "recorded_at": "2026-11-21T15:04:05Z", "recorded_by": "01900000-0000-7000-8000-000000000001"
        })),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:write"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let caller = caller::authorize(&app.db, request, Scope::ConversationsWrite).await?;
    let variants = app.variants(request)?;
    let consent = request::consent(request.payload()?, caller.key_id)?;
    let (recipient, refusal) = match app.recipient(request)? {
        Ok(recipient) => (Some(recipient), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let recorded =
        consent::record(&app.db, app.account_sid(), &variants, recipient, &consent, clock::now()).await?;
    let entry = recorded.ok_or_else(|| no_number(refusal))?;
    tracing::info!(action = consent.action.as_str(), "consent recorded");
    http::json(StatusCode::CREATED, &ConsentEntry::from(entry))
}
