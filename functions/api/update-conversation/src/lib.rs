//! PATCH /conversations/{phone_number}: sets the workflow, status or time zone of a conversation.
//!
//! Reads and writes Postgres (`sms_conversations`; `sms_messages`, because a new time zone changes when messages that
//! wait for the end of quiet hours are due) in one statement. The service stores a workflow but never chooses one.

mod request;

pub use common::service::conversation::{App, Config};
pub use request::ConversationChanges;

use common::clock;
use common::db::conversations;
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::conversation::Conversation;
use serde::Serialize;
use utoipa::ToSchema;

/// A conversation as in `GET /conversations/{phone_number}`, but without messages, because they need another scope.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "phone_number_canonical": "+12025550123", "phone_number_original": "(202) 555-0123",
    "conversation_id": "01900000-0000-7000-8000-00000000000c", "tenant_id": "t-42", "tenant_candidates": null,
    "workflow_type": "collections", "workflow_id": "case-17", "conversation_status": "open",
    "time_zone": "America/Chicago", "language_detected": "es", "language_confidence": 0.75, "opted_out": false,
    "carrier_blocked_at": null, "number_deactivated_at": null, "last_message_at": "2026-11-01T12:00:03Z", "total": 3
}))]
pub struct ChangedConversation {
    #[serde(flatten)]
    conversation: Conversation,
    /// Number of messages in the conversation.
    pub total: i64,
}

/// Changes a conversation.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 404, 413, or 503 when Postgres is unavailable.
#[utoipa::path(
    patch, path = "/conversations/{phone_number}", tag = "conversations",
    operation_id = "update_conversation",
    summary = "Set a conversation's workflow, status or time zone",
    description = "Changes the given fields of a conversation; `null` clears a field. Returns the conversation \
        without its messages. Scope: `conversations:write`.",
    params(("phone_number" = String, Path, description = "Phone number in any common format, or a short code or \
        alphanumeric sender; percent-encoded.", example = "+12035550123")),
    request_body = ConversationChanges,
    responses(
        (status = 200, description = "The changed conversation.", body = ChangedConversation),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("api_key" = ["conversations:write"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsWrite).await?;
    let variants = app.variants(request)?;
    let changes = request::changes(request.payload()?)?;
    let changed =
        conversations::update(&app.db, app.account_sid(), &variants, &changes, clock::now()).await?;
    let conversation = changed.ok_or(ApiError::NotFound("the conversation"))?;
    tracing::info!(conversation_id = %conversation.id, "conversation updated");
    let total = conversation.message_count;
    http::json(StatusCode::OK, &ChangedConversation { conversation: conversation.into(), total })
}
