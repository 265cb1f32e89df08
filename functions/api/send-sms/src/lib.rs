//! POST /sms/send: a message that is stored first and put on a queue second.
//!
//! Reads and writes Postgres (`sms_messages`, `sms_conversations`, `idempotency_keys`); puts the message's id on
//! `[outbound]` (`OUTBOUND_QUEUE_URL`), from where it comes when it is due, unless that is later than SQS can wait. When SQS does not take it the answer is 202 all the
//! same: the row is there, and the next sweep puts it on the queue. When Postgres is down the answer is 503 within two
//! seconds; when it is only slow, or frozen, within `DATABASE_BUDGET_MS`. Nothing is on the queue then, and nothing is stored
//! later: a statement that must not take effect after its caller has timed out is committed by a message of its own.

mod config;
mod judge;
mod request;

pub use config::{Config, Senders};
pub use request::SendRequest;

use common::clock;
use common::db::sends::{self, Created, Idempotency, NewSend, Repeated};
use common::db::{Db, DbError, conversations, messages};
use common::domain::message::Status;
use common::domain::phone::{LoadError, NumberingPlan, Recipient};
use common::domain::segments;
use common::domain::smart_encoding::SmartEncoding;
use common::error::chain;
use common::http::{ApiError, Fields, Principal, Reply, Request, Scope, ValidationError};
use common::queue::{DispatchMessage, MAX_DELAY, Publisher};
use common::telemetry::{self, Metric};
use judge::Judged;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// Why the function can't start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Postgres can't be set up.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The numbering plans can't be loaded.
    #[error("DEFAULT_REGION is not usable")]
    Plan(#[from] LoadError),
}

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    config: Config,
    plan: NumberingPlan,
    publisher: Publisher,
    db: Db,
}

impl App {
    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`InitError`]: the function can't start.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let plan = NumberingPlan::load(config.region)?;
        let publisher = Publisher::new(config.publisher.clone());
        let db = Db::new(&config.database)?;
        Ok(Self { config, plan, publisher, db })
    }

    /// Connects ahead of the first event.
    pub async fn warm_up(&self) {
        self.db.warm_up().await;
    }
}

/// What a message is accepted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SendAccepted {
    /// The message's id.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Always `pending`: Twilio has not been asked yet.
    pub status: Status,
    /// Always null, for the same reason.
    pub twilio_sid: Option<String>,
    /// The recipient in E.164.
    pub to: String,
    /// `GSM-7` or `UCS-2`.
    #[schema(value_type = segments::Encoding)]
    pub encoding: String,
    /// How many segments the text costs.
    pub segments: i32,
}

/// Accepts a message to be sent.
///
/// # Errors
///
/// [`ApiError`]: 400 with every field at fault, 403, 409, 413, or 503 when Postgres can't store it.
#[utoipa::path(
    post, path = "/sms/send", tag = "messages",
    operation_id = "send_sms",
    summary = "Send a message",
    description = "Stores a message and hands it to Twilio in the background. With an `Idempotency-Key` the same \
                   request may be made again without sending twice: it gets the first answer. Scope: `messages:send`.",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "Printable ASCII, remembered for 24 hours, per API key.")),
    request_body = SendRequest,
    responses(
        (status = 202, description = "Stored; it will be sent.", body = SendAccepted),
        (status = 400, description = "`sms.validation_error`: every field at fault is named.",
            body = common::http::ErrorEnvelope),
        (status = 403, description = "`sms.forbidden`: the key lacks `messages:send`.",
            body = common::http::ErrorEnvelope),
        (status = 409, description = "`sms.recipient_opted_out`, or `sms.idempotency_conflict`: the key came with \
            another payload.", body = common::http::ErrorEnvelope),
        (status = 413, description = "`sms.payload_too_large`: more than 256 KiB.",
            body = common::http::ErrorEnvelope),
        (status = 503, description = "`sms.unavailable`: not stored; try again.",
            body = common::http::ErrorEnvelope),
    ),
    security(("api_key" = ["messages:send"])),
)]
pub async fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    let budget = app.config.database_budget;
    let accepted = tokio::time::timeout(budget, accept(app, request)).await;
    let accepted =
        accepted.map_err(|_| DbError::TimedOut { operation: "store a message to send", after: budget })?;
    let (answer, due_in) = accepted?;
    if let Some(delay) = due_in {
        app.enqueue(answer.id, request.request_id(), delay).await;
    }
    Reply::json(202, &answer)
}

/// Does all that needs Postgres, for [`Asked::store`]'s outcome.
async fn accept(app: &App, request: &Request) -> Result<(SendAccepted, Option<Duration>), ApiError> {
    let principal = caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let mut fields = Fields::from_slice(request.payload()?)?;
    let wanted = SendRequest::take(&mut fields);
    let mut problems = fields.finish();
    let key = request::idempotency_key(request, &mut problems);
    Asked { wanted, key, principal, request }.store(app, problems).await
}

/// A request that could be read.
struct Asked<'a> {
    wanted: SendRequest,
    key: Option<String>,
    principal: Principal,
    request: &'a Request,
}

impl Asked<'_> {
    /// Stores the message and returns the answer, and the delay after which the message is to come off its queue; none
    /// when it is not to be put there: it is there already, or due so late that a sweep does it.
    async fn store(
        self,
        app: &App,
        mut problems: ValidationError,
    ) -> Result<(SendAccepted, Option<Duration>), ApiError> {
        let now = clock::now();
        let is_readable = problems.is_empty();
        let hash = self.wanted.hash().map_err(ApiError::internal)?;
        let idempotency = self.key.clone().map(|key| Idempotency { key, payload_hash: hash });
        let recipient = self.recipient(app, &mut problems).await?;
        let judged = judge::judge(&self.wanted, &app.plan, &app.config.senders, now, &mut problems);
        self.check_conversation(app, recipient.as_ref(), &mut problems).await?;
        let send = match (recipient, problems.check()) {
            (Some(recipient), Ok(())) => self.new_send(app, judged, recipient, now),
            (_, refused) => {
                // What was fine the first time may have become wrong since, as a send_at that has passed.
                if let Some(idempotency) = idempotency.filter(|_| is_readable)
                    && let Ok(Some(repeated)) =
                        sends::repeated(&app.db, self.principal.key_id, &idempotency, now).await
                {
                    return Ok((answer_again(app, repeated).await?, None));
                }
                refused?;
                return Err(ValidationError::field("to", "can't be sent to").into());
            }
        };
        match sends::create(&app.db, &send, idempotency.as_ref()).await? {
            Created::Stored { conversation_id } => {
                telemetry::count(Metric::SendsRequested, 1);
                let wait = send.send_at.map_or(Duration::ZERO, |at| until(now, at));
                Ok((accepted(&send, conversation_id), Some(wait).filter(|wait| *wait <= MAX_DELAY)))
            }
            Created::Repeated(repeated) => Ok((answer_again(app, repeated).await?, None)),
            Created::OptedOut => Err(ApiError::RecipientOptedOut),
        }
    }

    /// Returns the number to send to, or adds a problem: the numbering plan must have it, or it must have written to us.
    async fn recipient(
        &self,
        app: &App,
        problems: &mut ValidationError,
    ) -> Result<Option<Recipient>, DbError> {
        let refusal = match app.plan.recipient(&self.wanted.to) {
            Ok(recipient) => return Ok(Some(recipient)),
            Err(refusal) => refusal,
        };
        if let Some(unlisted) = app.plan.unlisted_recipient(&self.wanted.to, refusal)
            && conversations::has_written(&app.db, &app.config.account_sid, unlisted.e164().as_str()).await?
        {
            return Ok(Some(unlisted));
        }
        problems.add_once("to", format!("can't be sent to: {refusal}"));
        Ok(None)
    }

    /// Adds a problem when the conversation is unknown or another number's.
    async fn check_conversation(
        &self,
        app: &App,
        recipient: Option<&Recipient>,
        problems: &mut ValidationError,
    ) -> Result<(), DbError> {
        let Some(id) = self.wanted.conversation_id else { return Ok(()) };
        match conversations::number(&app.db, &app.config.account_sid, id).await? {
            None => problems.add("conversation_id", "is not a conversation"),
            Some(number) if recipient.is_some_and(|recipient| recipient.e164().as_str() != number) => {
                problems.add("conversation_id", "is the conversation with another number");
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn new_send(&self, app: &App, judged: Judged, recipient: Recipient, now: jiff::Timestamp) -> NewSend {
        let wanted = self.wanted.clone();
        let choice = wanted.smart_encoding.unwrap_or(app.config.smart_encoding);
        let written = wanted.body.unwrap_or_default();
        // Three dots are longer than an ellipsis; a composed text is never longer.
        let body = match choice.apply(&written) {
            body if body.chars().count() > judge::MAX_BODY => SmartEncoding::None.apply(&written),
            body => body,
        };
        let body = body.into_owned();
        let cost = segments::count(&body);
        let (to, to_original) = recipient.into_parts();
        let media = wanted.media_urls.unwrap_or_default().into_iter();
        NewSend {
            id: clock::new_id(),
            conversation_id: clock::new_id(),
            account_sid: app.config.account_sid.clone(),
            to: to.into(),
            to_original,
            from: judged.from,
            messaging_service_sid: judged.messaging_service_sid,
            message_content: body,
            media: media.map(|url| json!({"url": url, "content_type": null})).collect(),
            encoding: cost.encoding.as_str(),
            // 1600 characters make a few dozen segments.
            segments: i32::try_from(cost.segments).unwrap_or(i32::MAX),
            priority: wanted.priority.unwrap_or_default().as_str(),
            workflow_type: wanted.workflow_type,
            workflow_id: wanted.workflow_id,
            metadata: wanted.metadata,
            send_at: wanted.send_at,
            send_before: wanted.send_before,
            api_key_id: self.principal.key_id,
            request_id: self.request.request_id().to_owned(),
            created_at: now,
        }
    }
}

fn until(now: jiff::Timestamp, at: jiff::Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

fn accepted(send: &NewSend, conversation_id: Uuid) -> SendAccepted {
    SendAccepted {
        id: send.id,
        conversation_id,
        status: Status::Pending,
        twilio_sid: None,
        to: send.to.clone(),
        encoding: send.encoding.to_owned(),
        segments: send.segments,
    }
}

/// Makes the first answer once more, of the message that it was about, however far that has come since.
async fn answer_again(app: &App, repeated: Repeated) -> Result<SendAccepted, ApiError> {
    let Repeated { same_payload, message_id } = repeated;
    if !same_payload {
        return Err(ApiError::IdempotencyConflict);
    }
    let message = messages::find(&app.db, message_id).await?;
    let message = message.ok_or_else(|| ApiError::internal(format!("message {message_id} is gone")))?;
    Ok(SendAccepted {
        id: message.id,
        conversation_id: message.conversation_id,
        status: Status::Pending,
        twilio_sid: None,
        to: message.to_number,
        encoding: message.encoding.unwrap_or_default(),
        segments: message.segments.unwrap_or_default(),
    })
}

impl App {
    /// Puts a message on its queue; when SQS does not take it, the next sweep does without.
    async fn enqueue(&self, id: Uuid, request_id: &str, delay: Duration) {
        // Boxed: the SDK's futures are nested so deeply that the compiler gives up on laying them out in one piece.
        let message = DispatchMessage::new(id);
        let put = self.publisher.send_later(&self.config.queue_url, &message, request_id, delay);
        if let Err(error) = Box::pin(put).await {
            tracing::warn!(message_id = %id, error = chain(&error), "SQS did not take the message; a sweep will");
        }
    }
}
