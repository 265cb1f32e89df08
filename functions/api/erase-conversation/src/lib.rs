//! DELETE /conversations/{phone_number}/content: erases the content of a conversation.
//!
//! Reads and writes Postgres, in batches until a time limit. A request that reaches the limit is answered 202, and the
//! next one erases the rest. What must stay and why is explained in `common/docs/decisions/0021-erasure.md`.

mod waiting;

use common::clock;
use common::config::{Configuration, Env};
use common::db::erasure::{self, ErasedCounts, NewErasure};
use common::domain::ids::ConversationId;
use common::http::{self, ApiError, HttpRequestExt, Request, Response, Scope, StatusCode, responses};
use common::service::caller;
use common::service::conversation::{self, InitError};
use serde::Serialize;
use std::time::{Duration, Instant};
use utoipa::ToSchema;
use uuid::Uuid;

/// How many messages a statement erases: about 0.1 s, during which their statuses wait.
const BATCH: i32 = 1000;

/// Configuration, read from the environment: [`conversation::Config`], and `ERASE_BUDGET_MS` (10000), how long a
/// request begins to erase further messages.
#[derive(Debug, Clone)]
pub struct Config {
    conversation: conversation::Config,
    budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let conversation = conversation::Config::read(env);
        let budget = env.millis("ERASE_BUDGET_MS", 1..=20_000, 10_000);
        Some(Self { conversation: conversation?, budget: budget? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    conversations: conversation::App,
    budget: Duration,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub fn init(config: Config) -> Result<Self, InitError> {
        Ok(Self { conversations: conversation::App::init(config.conversation)?, budget: config.budget })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.conversations.warm_up().await;
    }
}

/// An erasure of a conversation's content.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "erasure_id": "01900000-0000-7000-8000-0000000000e1", "conversation_id": "01900000-0000-7000-8000-00000000000c",
    "erased": {"messages": 10000, "canceled": 0, "in_flight": 0, "webhooks": 12, "status_callbacks": 20,
    "opt_out_texts": 0, "waiting_webhooks": 0, "archived_rows": 0}, "remaining": 250
}))]
pub struct Erasure {
    /// Id of this request in the audit.
    pub erasure_id: Uuid,
    /// Conversation id.
    #[schema(value_type = Uuid)]
    pub conversation_id: ConversationId,
    /// What this request erased. All zero if everything was erased before.
    pub erased: ErasedCounts,
    /// Number of messages whose content is not erased yet. If it is not 0, send the request again.
    pub remaining: i64,
}

/// Erases the content of a conversation.
///
/// # Errors
///
/// [`ApiError`]: 400 for an invalid number, 403, 404, or 503 when Postgres is unavailable. Repeating the request is
/// safe.
#[utoipa::path(
    delete, path = "/conversations/{phone_number}/content", tag = "conversations",
    operation_id = "erase_conversation",
    summary = "Erase a conversation's content",
    description = "Erases the texts, files, metadata, workflows, raw webhooks and raw callbacks of \
    all messages \
                   up to now, and the texts of opt-outs. Messages that were not passed to Twilio yet are \
                   canceled; one that \
                   is being sent is erased when it is finished. Counts, statuses, SIDs, opt-outs and the phone number \
                   itself stay: opt-outs must still be enforced. Later messages are stored as usual. Copies at \
                   Twilio and \
                   in backups are not erased. Repeating the request is safe; each one is recorded. Scope: `admin`.",
    params(("phone_number" = String, Path, description = "Phone number in any common format, or a short code or \
        alphanumeric sender; percent-encoded.", example = "+12035550123")),
    responses(
        (status = 200, description = "All content is erased.", body = Erasure, example = json!({
            "erasure_id": "01900000-0000-7000-8000-0000000000e1",
            "conversation_id": "01900000-0000-7000-8000-00000000000c",
            "erased": {
                "messages": 12, "canceled": 1, "in_flight": 0, "media": 2, "webhooks": 7, "status_callbacks": 10,
                "opt_out_texts": 1, "waiting_webhooks": 0, "archived_rows": 3
            },
            "remaining": 0
        })),
        (status = 202, description = "The conversation is long: part of its content is erased. Send the request \
        again until \
            `remaining` is 0.", body = Erasure),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::NotFound,
        (status = 503, description = "`sms.unavailable`: part of the content may be erased; send the request again.",
            body = http::ErrorEnvelope),
    ),
    security(("api_key" = ["admin"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let db = &app.conversations.db;
    let caller = caller::authorize(db, request, Scope::Admin).await?;
    let variants = app.conversations.variants(request)?;
    let until = Instant::now() + app.budget;
    let erasure = NewErasure {
        id: clock::new_id(),
        account_sid: app.conversations.account_sid(),
        variants: &variants,
        api_key_id: caller.key_id,
        request_id: request.request_id(),
        requested_at: clock::now(),
    };
    let begun = erasure::begin(db, &erasure).await?.ok_or(ApiError::NotFound("the conversation"))?;
    let waiting = waiting::store(db, &erasure, &begun).await?;
    let is_complete = erase_messages(app, erasure.id, until).await?;
    let (erased, remaining) = erasure::finish(db, erasure.id, waiting, is_complete, clock::now()).await?;
    tracing::info!(
        erasure_id = %erasure.id,
        conversation_id = %begun.conversation_id,
        api_key_id = %erasure.api_key_id,
        last_four = begun.phone_number_canonical.last_four(),
        messages = erased.messages,
        remaining,
        "content erased"
    );
    let status = if remaining == 0 { StatusCode::OK } else { StatusCode::ACCEPTED };
    let conversation_id = begun.conversation_id;
    http::json(status, &Erasure { erasure_id: erasure.id, conversation_id, erased, remaining })
}

/// Erases messages until a time, at least one batch. Returns whether none is left.
async fn erase_messages(app: &App, id: Uuid, until: Instant) -> Result<bool, ApiError> {
    let mut last = None;
    loop {
        last = erasure::erase(&app.conversations.db, id, last, BATCH).await?;
        if last.is_none() || Instant::now() >= until {
            return Ok(last.is_none());
        }
    }
}
