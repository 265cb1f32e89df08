//! PATCH /conversations/{phone_number}: sets what routers decide of a conversation, found by any spelling of its number.
//!
//! Reads and writes Postgres (`sms_conversations`; `sms_messages`, where another time zone moves what waits for the end of
//! quiet hours) in one statement. This service stores a workflow, it never chooses one.

mod request;

pub use conversation::{App, Config};
pub use request::ConversationChanges;

use common::clock;
use common::db::conversations;
use common::http::{ApiError, Reply, Request, Scope};
use conversation::Conversation;
use serde::Serialize;
use utoipa::ToSchema;

/// A conversation as `GET /conversations/{phone_number}` shows it, without its messages: who may set a workflow need not be
/// allowed to read them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChangedConversation {
    #[serde(flatten)]
    conversation: Conversation,
    /// How many messages the conversation holds.
    pub total: i64,
}

/// Changes a conversation.
///
/// # Errors
///
/// [`ApiError`]: 400 with every field at fault, 403, 404, 413, or 503 when Postgres can't be written.
#[utoipa::path(
    patch, path = "/conversations/{phone_number}", tag = "conversations",
    operation_id = "update_conversation",
    summary = "Set a conversation's workflow, status or time zone",
    description = "Sets what routers decide of a conversation, found by any spelling of its number. What is left out stays \
                   as it is, `null` clears a field. The answer is the conversation without its messages. \
                   Scope: `conversations:write`.",
    params(("phone_number" = String, Path, description = "Any spelling, percent-encoded; a short code or alphanumeric \
        sender as it is.", example = "+12035550123")),
    request_body = ConversationChanges,
    responses(
        (status = 200, description = "The conversation as it is now.", body = ChangedConversation),
        (status = 400, description = "`sms.validation_error`: every field at fault is named.",
            body = common::http::ErrorEnvelope),
        (status = 403, description = "`sms.forbidden`: the key lacks `conversations:write`.",
            body = common::http::ErrorEnvelope),
        (status = 404, description = "`sms.not_found`: there is no conversation with this number.",
            body = common::http::ErrorEnvelope),
        (status = 413, description = "`sms.payload_too_large`: more than 256 KiB.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: try again.", body = common::http::ErrorEnvelope),
    ),
    security(("api_key" = ["conversations:write"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    caller::authorize(&app.db, request, Scope::ConversationsWrite).await?;
    let variants = app.variants(request)?;
    let changes = request::changes(request.payload()?)?;
    let changed = conversations::update(&app.db, &app.account_sid, &variants, &changes, clock::now()).await?;
    let conversation = changed.ok_or(ApiError::NotFound("the conversation"))?;
    tracing::info!(conversation_id = %conversation.id, "changed");
    let total = conversation.message_count;
    Reply::json(200, &ChangedConversation { conversation: conversation.into(), total })
}
