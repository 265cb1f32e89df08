//! POST /sms/bulk: stores up to 1,000 messages in one transaction, and wakes their senders.
//!
//! Reads and writes Postgres (`sms_messages`, `sms_conversations`, `sms_batches`, `sms_batch_counts`,
//! `idempotency_keys`, `sms_templates`; `sms_key_usage` if keys have a limit). Puts one message per sender on
//! `[outbound]` (`OUTBOUND_QUEUE_URL`): a claim takes the next messages of a sender and wakes it again. If SQS is
//! unavailable, the response is still 202, and the next sweep wakes the senders. Invalid messages are reported in the
//! response and do not stop the others.

mod config;
mod items;
mod request;
mod response;

pub use common::service::conversation::InitError;
pub use config::Config;
pub use request::{BulkRecipient, BulkRequest};
pub use response::{BulkAccepted, BulkItem, BulkItemError, DryRun, LanguageCount, Longest, RejectedCount};

use common::clock;
use common::db::batches::{self, NewBulk};
use common::db::sends::{Idempotency, NewSend};
use common::db::{Db, DbError};
use common::domain::batch::BatchStatus;
use common::domain::ids::BatchId;
use common::domain::language::Language;
use common::error::chain;
use common::http::{
    self, ApiError, ErrorEnvelope, HttpRequestExt, MAX_LIST_BYTES, Principal, Request, Response, Scope,
    StatusCode, ValidationError, responses,
};
use common::queue::{DispatchMessage, MAX_DELAY, Publisher};
use common::service::caller;
use common::service::sending::{self, Origin, Sending};
use common::telemetry::{self, Metric};
use items::Item;
use request::Bulk;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    sending: Sending,
    publisher: Publisher,
    db: Db,
}

impl App {
    /// Creates the state without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`] when the function cannot start.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let sending = Sending::load(config.sending.clone())?;
        let publisher = Publisher::new(config.publisher.clone());
        let db = Db::new(&config.database)?;
        Ok(Self { config, sending, publisher, db })
    }

    /// Opens the connection before the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// Messages that wake senders, each with the id of the request and its delay.
type WakeUps = Vec<(DispatchMessage, String, Duration)>;

/// Accepts messages for sending.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields of the request, 403, 409, 413, 429, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/sms/bulk", tag = "bulk",
    operation_id = "send_bulk",
    summary = "Send many messages",
    description = "Stores up to 1,000 messages in one transaction and sends them in the background, after messages of \
        a higher priority. An invalid message is reported in `items` and does not stop the others. With `recipients`, \
        the text is chosen by the language of the recipient, of the conversation, of the tenant's profile, or is the \
        fallback. A missing variable is an error of the whole request. A message that repeats an earlier one of the \
        request (same number, text and media) is refused. The messages of an API key per minute can be limited: a \
        request with more is refused as a whole. So can those to a recipient in 24 hours: further ones are refused in \
        `items`, except with the priority `urgent` or the purpose `emergency`. `dry_run` stores nothing, uses up no \
        limit, and returns counts. With an `Idempotency-Key` a request can be retried without sending twice: it gets \
        the first response. Scope: `messages:send`.",
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$",
        description = "Printable ASCII; stored per API key for 24 hours.")),
    request_body(content = BulkRequest, examples(
        ("messages" = (summary = "Messages", value = json!({
            "messages": [
                {"to": "(202) 555-0123", "body": "Your rent is due on the 1st."},
                {"to": "(202) 555-0124", "body": "Your rent is due on the 1st.", "workflow_id": "case-17"}
            ],
            "workflow_type": "collections"
        }))),
        ("dry_run" = (summary = "Dry run of texts per language", value = json!({
            "texts": {"en": "Hi {{name}}, water is off on May 3.", "es": "Hola {{name}}, el 3 de mayo no hay agua."},
            "recipients": [
                {"to": "(202) 555-0123", "variables": {"name": "Ana"}, "language": "es"},
                {"to": "(202) 555-0124", "variables": {"name": "Tom"}}
            ],
            "dry_run": true
        }))),
    )),
    responses(
        (status = 200, description = "The result of a dry run.", body = DryRun),
        (status = 202, description = "The accepted messages are stored and will be sent.", body = BulkAccepted, headers(
            ("RateLimit" = String, description = "The messages that the API key has left, and the seconds until it has \
                all; if its limit is configured, and not for a repeated request."),
            ("RateLimit-Policy" = String, description = "The limit of the API key, and its window in seconds."),
        )),
        (status = 409, description = "`sms.idempotency_conflict`: the idempotency key was used with another payload; \
            or `sms.conflict`: the batch was cancelled.", body = ErrorEnvelope),
        responses::InvalidRequest,
        responses::MissingScope,
        responses::PayloadTooLarge,
        responses::RateLimited,
        responses::Unavailable,
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Response, ApiError> {
    let budget = app.config.database_budget;
    let accepted = tokio::time::timeout(budget, accept(app, request)).await;
    let (response, wake_ups) =
        accepted.map_err(|_| DbError::TimedOut { operation: "store a bulk request", after: budget })??;
    app.wake(&wake_ups).await;
    Ok(response)
}

/// Validates and stores the messages. Returns the response, and the senders to wake.
async fn accept(app: &App, request: &Request) -> Result<(Response, WakeUps), ApiError> {
    let principal = caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let now = clock::now();
    let body = request.payload_up_to(MAX_LIST_BYTES)?;
    let (bulk, mut problems) = Bulk::parse(body, now)?;
    let key = sending::idempotency_key(request, &mut problems);
    let idempotency = key.map(|key| {
        let payload_hash = Sha256::digest(request::canonical(body)).to_vec();
        Idempotency { key, payload_hash }
    });
    // First, because a valid request may have become invalid since, such as by a send_at in the past.
    if let Some(idempotency) = &idempotency
        && let Some(response) = repeated(app, &principal, idempotency, now).await?
    {
        return Ok((response, WakeUps::new()));
    }
    let bulk = match (bulk, problems.check()) {
        (Some(bulk), Ok(())) => bulk,
        (None, Ok(())) => return Err(ValidationError::field("messages", "is missing").into()),
        (_, Err(problems)) => return Err(problems.into()),
    };
    check_size(app, &bulk)?;
    check_batch(app, bulk.batch_id).await?;
    let origin = Origin::new(&principal, request, now);
    let (batch_id, dry_run) = (bulk.batch_id, bulk.dry_run);
    let prepared = items::prepare(app, bulk, &origin).await?;
    if dry_run {
        let run = DryRun::new(&prepared, app.config.quiet.as_ref(), now);
        return Ok((http::json(StatusCode::OK, &run)?, WakeUps::new()));
    }
    let batch_id = batch_id.unwrap_or_else(|| clock::new_id().into());
    let ready = prepared.iter().flatten().count();
    let quota = app.sending.count_messages(&app.db, ready, &origin).await?;
    let (mut response, wake_ups) = store(app, batch_id, prepared, &origin, idempotency.as_ref()).await?;
    if let Some(quota) = quota {
        http::add_quota(&mut response, &quota);
    }
    Ok((response, wake_ups))
}

/// Returns the response of the first request with this key, if there was one.
async fn repeated(
    app: &App,
    principal: &Principal,
    idempotency: &Idempotency,
    now: jiff::Timestamp,
) -> Result<Option<Response>, ApiError> {
    let Some(first) = batches::repeated(&app.db, principal.key_id, idempotency, now).await? else {
        return Ok(None);
    };
    match first.response {
        Some(response) if first.same_payload => {
            Ok(Some(http::text(StatusCode::ACCEPTED, "application/json", response)))
        }
        _ => Err(ApiError::IdempotencyConflict),
    }
}

/// A request with more messages than a key may request per minute would always be refused.
fn check_size(app: &App, bulk: &Bulk) -> Result<(), ValidationError> {
    let (field, entries) = bulk.items.count();
    match app.sending.limits().key {
        Some(limit) if entries > limit as usize => {
            let allowed = format!("{limit} messages per minute are allowed for an API key");
            Err(ValidationError::field(field, format!("has {entries} entries; {allowed}")))
        }
        _ => Ok(()),
    }
}

/// Messages can join a batch that exists and was not cancelled.
async fn check_batch(app: &App, batch_id: Option<BatchId>) -> Result<(), ApiError> {
    let Some(id) = batch_id else { return Ok(()) };
    match batches::find(&app.db, id).await? {
        None => Err(ValidationError::field("batch_id", "is not a batch").into()),
        Some(batch) if batch.status == BatchStatus::Cancelled => {
            Err(ApiError::Conflict("the batch was cancelled".into()))
        }
        Some(_) => Ok(()),
    }
}

async fn store(
    app: &App,
    batch_id: BatchId,
    prepared: Vec<Item>,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<(Response, WakeUps), ApiError> {
    let messages: Vec<(NewSend, Option<Language>)> =
        prepared.iter().flatten().map(|ready| (ready.send.clone(), ready.language)).collect();
    let bulk = NewBulk {
        batch_id,
        account_sid: app.sending.account_sid(),
        messages: &messages,
        api_key_id: origin.api_key_id,
        request_id: &origin.request_id,
        trace_context: origin.trace_context.as_deref(),
        created_at: origin.at,
    };
    let Some(unconfirmed) = batches::create(&app.db, &bulk, idempotency).await? else {
        // A concurrent request with the same key was first.
        let idempotency =
            idempotency.ok_or_else(|| ApiError::internal("a request without a key was repeated"))?;
        let first = batches::repeated(&app.db, origin.api_key_id, idempotency, origin.at).await?;
        return match first {
            Some(batches::RepeatedBulk { same_payload: true, response: Some(response) }) => {
                Ok((http::text(StatusCode::ACCEPTED, "application/json", response), WakeUps::new()))
            }
            _ => Err(ApiError::IdempotencyConflict),
        };
    };
    let accepted = BulkAccepted::new(batch_id, &prepared, &unconfirmed.conversations);
    let response = serde_json::to_string(&accepted).map_err(ApiError::internal)?;
    let stored: Vec<bool> = unconfirmed.conversations.iter().map(Option::is_some).collect();
    unconfirmed.confirm(&app.db, origin.api_key_id, idempotency, &response).await?;
    telemetry::count(Metric::SendsRequested, accepted.accepted);
    tracing::info!(%batch_id, accepted = accepted.accepted, rejected = accepted.rejected, "bulk request stored");
    let stored = messages.iter().zip(stored).filter(|(_, is_stored)| *is_stored).map(|((send, _), _)| send);
    Ok((http::text(StatusCode::ACCEPTED, "application/json", response), wake_ups(stored, origin)))
}

/// Returns one message per sender: the earliest. Later ones are found by the sweep.
fn wake_ups<'a>(stored: impl Iterator<Item = &'a NewSend>, origin: &Origin) -> WakeUps {
    let mut first: BTreeMap<&str, (&NewSend, Duration)> = BTreeMap::new();
    for send in stored {
        let wait = sending::wait(send.send_at, origin.at);
        let known = first.entry(send.sender.as_str()).or_insert((send, wait));
        if wait < known.1 {
            *known = (send, wait);
        }
    }
    let due = first.into_values().filter(|(_, wait)| *wait <= MAX_DELAY);
    due.map(|(send, wait)| {
        (DispatchMessage::new(send.id, Some(send.sender.clone())), origin.request_id.clone(), wait)
    })
    .collect()
}

impl App {
    /// Wakes senders. If SQS is unavailable, the next sweep does.
    async fn wake(&self, wake_ups: &WakeUps) {
        if wake_ups.is_empty() {
            return;
        }
        // Boxed: the SDK's futures are too deeply nested for the compiler.
        match Box::pin(self.publisher.send_all_later(&self.config.queue_url, wake_ups)).await {
            Ok(refused) if refused.is_empty() => {}
            Ok(refused) => {
                tracing::warn!(
                    senders = refused.len(),
                    "SQS did not accept all wake-ups, leaving them to the sweep"
                );
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "could not wake senders, leaving them to the sweep");
            }
        }
    }
}
