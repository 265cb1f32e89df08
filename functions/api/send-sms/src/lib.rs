//! POST /sms/send: stores a message, and puts it on a queue to be sent.
//!
//! Reads and writes Postgres (`sms_messages`, `sms_conversations`, `idempotency_keys`; `sms_key_usage` if keys have a
//! limit). Puts the message's id on `[outbound]` (`OUTBOUND_QUEUE_URL`) with a delay until it is due, unless that is
//! longer than SQS allows. If SQS is unavailable, the response is still 202: the message is stored, and the next sweep
//! enqueues it. If Postgres is down, the response is 503 within two seconds; if it is slow, within
//! `DATABASE_BUDGET_MS`. Then the message is not stored later either: a statement that must not take effect after its
//! caller has timed out is committed by a message of its own.

mod config;

pub use common::service::conversation::InitError;
pub use common::service::sending::SendRequest;
pub use config::Config;

use common::clock;
use common::db::conversations::{self, LastSender};
use common::db::sends::{self, Created, Idempotency, NewSend, Repeated};
use common::db::{Db, DbError, messages};
use common::domain::ids::{ConversationId, MessageId};
use common::domain::message::Status;
use common::domain::phone::Recipient;
use common::domain::rate_limit::Quota;
use common::domain::segments::Encoding;
use common::domain::sids::MessageSid;
use common::error::chain;
use common::http::{
    self, ApiError, ErrorEnvelope, Fields, HttpRequestExt, Principal, Request, Response, Scope, StatusCode,
    ValidationError, responses,
};
use common::queue::{DispatchMessage, MAX_DELAY, Publisher};
use common::service::caller;
use common::service::sending::{self, Choice, NUMBER_DEACTIVATED, Origin, Sending};
use common::telemetry::{self, Metric};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

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

/// An accepted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01900000-0000-7000-8000-00000000000d", "conversation_id": "01900000-0000-7000-8000-00000000000c",
    "status": "pending", "twilio_sid": null, "to": "+12025550123", "encoding": "GSM-7", "segments": 1
}))]
pub struct SendAccepted {
    /// Message id.
    #[schema(value_type = uuid::Uuid)]
    pub id: MessageId,
    /// Conversation id.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// Always `pending`: the message was not sent to Twilio yet.
    pub status: Status,
    /// Always null, for the same reason.
    #[schema(value_type = Option<String>)]
    pub twilio_sid: Option<MessageSid>,
    /// Recipient in E.164.
    pub to: String,
    /// `GSM-7` or `UCS-2`.
    pub encoding: Encoding,
    /// Number of segments of the text.
    pub segments: i32,
    /// The sender that the conversation used before. Present if the request had no `from` and that sender is not
    /// configured any more: the default sender replaced it, and the recipient may not know its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_from: Option<String>,
}

/// Accepts a message for sending.
///
/// # Errors
///
/// [`ApiError`]: 400 with all invalid fields, 403, 409, 413, 429, or 503 when Postgres is unavailable.
#[utoipa::path(
    post, path = "/sms/send", tag = "messages",
    operation_id = "send_sms",
    summary = "Send a message",
    description = "Stores a message and sends it in the background. With an `Idempotency-Key` a request can be retried \
                   without sending twice: it gets the first response. The messages of an API key per minute, and to a \
                   recipient in 24 hours, can be limited; messages with the priority `urgent` or the purpose \
                   `emergency` are not refused for their recipient. Scope: `messages:send`.",
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$",
        description = "Printable ASCII; stored per API key for 24 hours.")),
    request_body = SendRequest,
    responses(
        (status = 202, description = "The message is stored and will be sent.", body = SendAccepted, headers(
            ("RateLimit" = String, description = "The messages that the API key has left, and the seconds until it has \
                all; if its limit is configured, and not for a repeated request."),
            ("RateLimit-Policy" = String, description = "The limit of the API key, and its window in seconds."),
        )),
        (status = 409, description = "`sms.recipient_opted_out`; `sms.conflict`: the number is deactivated; or \
            `sms.idempotency_conflict`: the idempotency key was used with another payload.", body = ErrorEnvelope),
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
    let accepted =
        accepted.map_err(|_| DbError::TimedOut { operation: "store a message to send", after: budget })?;
    let Outcome { accepted, queued, quota } = accepted?;
    if let Some((message, delay)) = queued {
        app.enqueue(accepted.id, &message, request.request_id(), delay).await;
    }
    let mut response = http::json(StatusCode::ACCEPTED, &accepted)?;
    if let Some(quota) = quota {
        http::add_quota(&mut response, &quota);
    }
    Ok(response)
}

/// The outcome of a request.
struct Outcome {
    /// The response body.
    accepted: SendAccepted,
    /// The queue message with its delay. `None` if it was enqueued before, or if the delay is longer than SQS allows,
    /// so that a sweep does it.
    queued: Option<(DispatchMessage, Duration)>,
    /// What is left of the key's limit. `None` without a limit, and for a repeated request.
    quota: Option<Quota>,
}

impl Outcome {
    /// Returns the response of the first request again, whatever the message's status is now.
    async fn repeated(app: &App, repeated: Repeated) -> Result<Self, ApiError> {
        Ok(Self { accepted: repeated_response(app, repeated).await?, queued: None, quota: None })
    }
}

/// Validates and stores the message.
async fn accept(app: &App, request: &Request) -> Result<Outcome, ApiError> {
    let principal = caller::authorize(&app.db, request, Scope::MessagesSend).await?;
    let mut fields = Fields::from_slice(request.payload()?)?;
    let wanted = SendRequest::take(&mut fields);
    let mut problems = fields.finish();
    let key = sending::idempotency_key(request, &mut problems);
    ParsedRequest { wanted, key, principal, request }.store(app, problems).await
}

/// A request whose body was parsed.
struct ParsedRequest<'a> {
    wanted: SendRequest,
    key: Option<String>,
    principal: Principal,
    request: &'a Request,
}

impl ParsedRequest<'_> {
    /// Stores the message.
    async fn store(self, app: &App, mut problems: ValidationError) -> Result<Outcome, ApiError> {
        let now = clock::now();
        let is_readable = problems.is_empty();
        let hash = self.wanted.hash().map_err(ApiError::internal)?;
        let idempotency = self.key.clone().map(|key| Idempotency { key, payload_hash: hash });
        let recipient = self.recipient(app, &mut problems).await?;
        sending::judge(&self.wanted, now, &mut problems);
        let (is_deactivated, last) = self.known(app, recipient.as_ref()).await?;
        let choice = self.sender(app, recipient.as_ref(), last.as_ref(), &mut problems);
        self.check_conversation(app, recipient.as_ref(), &mut problems).await?;
        let send = match (recipient.zip(choice), problems.check()) {
            (Some((recipient, choice)), Ok(())) if !is_deactivated => {
                let origin = Origin::new(&self.principal, self.request, now);
                app.sending.new_send(self.wanted.clone(), choice, recipient, &origin)
            }
            (_, refused) => {
                // A valid request may have become invalid since, such as by a send_at in the past.
                if let Some(idempotency) = idempotency.filter(|_| is_readable)
                    && let Ok(Some(repeated)) =
                        sends::repeated(&app.db, self.principal.key_id, &idempotency, now).await
                {
                    return Outcome::repeated(app, repeated).await;
                }
                refused?;
                if is_deactivated {
                    return Err(ApiError::Conflict(NUMBER_DEACTIVATED.into()));
                }
                return Err(ValidationError::field("to", "can't be sent to").into());
            }
        };
        let quota = app.sending.count_message(&app.db, &send, idempotency.as_ref()).await?;
        match sends::create(&app.db, &send, idempotency.as_ref()).await? {
            Created::Stored { conversation_id } => {
                telemetry::count(Metric::SendsRequested, 1);
                let wait = sending::wait(send.send_at, now);
                let accepted = accepted(&send, conversation_id);
                let message = DispatchMessage::new(send.id, Some(send.sender));
                Ok(Outcome { accepted, queued: (wait <= MAX_DELAY).then_some((message, wait)), quota })
            }
            Created::Repeated(repeated) => Outcome::repeated(app, repeated).await,
            Created::OptedOut => Err(ApiError::RecipientOptedOut),
        }
    }

    /// Returns the recipient, or adds a problem. A number that the numbering plan does not contain must have sent a
    /// message before, and its country must be allowed.
    async fn recipient(
        &self,
        app: &App,
        problems: &mut ValidationError,
    ) -> Result<Option<Recipient>, DbError> {
        let plan = app.sending.plan();
        let recipient = match plan.recipient(&self.wanted.to) {
            Ok(recipient) => recipient,
            Err(refusal) => match plan.unlisted_recipient(&self.wanted.to, refusal) {
                Some(unlisted)
                    if conversations::has_written(&app.db, app.sending.account_sid(), unlisted.e164())
                        .await? =>
                {
                    unlisted
                }
                _ => {
                    problems.add_once("to", format!("can't be sent to: {refusal}"));
                    return Ok(None);
                }
            },
        };
        if let Some(refusal) = app.sending.country_refusal(recipient.e164()) {
            problems.add_once("to", refusal);
            return Ok(None);
        }
        Ok(Some(recipient))
    }

    /// Returns whether the number of the recipient is deactivated, and our side of its latest message.
    async fn known(
        &self,
        app: &App,
        recipient: Option<&Recipient>,
    ) -> Result<(bool, Option<LastSender>), DbError> {
        let Some(recipient) = recipient else { return Ok((false, None)) };
        let known = conversations::recipient(&app.db, app.sending.account_sid(), recipient.e164()).await?;
        Ok(known.map_or((false, None), |(refused, last)| (refused.is_deactivated, Some(last))))
    }

    /// Returns the sender: the one that the request names, or else the default for the conversation.
    fn sender(
        &self,
        app: &App,
        recipient: Option<&Recipient>,
        last: Option<&LastSender>,
        problems: &mut ValidationError,
    ) -> Option<Choice> {
        if let Some(from) = self.wanted.from.as_deref() {
            let choice = app.sending.named_sender(from);
            if choice.is_none() {
                problems.add("from", "is not a configured number or messaging service");
            }
            return choice;
        }
        recipient.and_then(|_| app.sending.default_sender(last))
    }

    /// Adds a problem when the conversation does not exist or is with another number.
    async fn check_conversation(
        &self,
        app: &App,
        recipient: Option<&Recipient>,
        problems: &mut ValidationError,
    ) -> Result<(), DbError> {
        let Some(id) = self.wanted.conversation_id else { return Ok(()) };
        match conversations::number(&app.db, app.sending.account_sid(), id).await? {
            None => problems.add("conversation_id", "is not a conversation"),
            Some(number) if recipient.is_some_and(|recipient| Some(recipient.e164()) != number.number()) => {
                problems.add("conversation_id", "is the conversation with another number");
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn accepted(send: &NewSend, conversation_id: ConversationId) -> SendAccepted {
    SendAccepted {
        id: send.id,
        conversation_id,
        status: Status::Pending,
        twilio_sid: None,
        to: send.to.clone().into(),
        encoding: send.encoding,
        segments: send.segments,
        replaced_from: send.replaced_from.clone().map(String::from),
    }
}

async fn repeated_response(app: &App, repeated: Repeated) -> Result<SendAccepted, ApiError> {
    let Repeated { same_payload, message_id } = repeated;
    if !same_payload {
        return Err(ApiError::IdempotencyConflict);
    }
    let message = messages::find(&app.db, message_id).await?;
    let message =
        message.ok_or_else(|| ApiError::internal(format!("message {message_id} does not exist")))?;
    let encoding = message
        .encoding
        .ok_or_else(|| ApiError::internal(format!("message {message_id} has no encoding")))?;
    Ok(SendAccepted {
        id: message.id,
        conversation_id: message.conversation_id,
        status: Status::Pending,
        twilio_sid: None,
        to: message.to_number,
        encoding,
        segments: message.segments.unwrap_or_default(),
        replaced_from: message.replaced_from,
    })
}

impl App {
    /// Puts a message on its queue. If SQS is unavailable, the next sweep enqueues it.
    async fn enqueue(&self, id: MessageId, message: &DispatchMessage, request_id: &str, delay: Duration) {
        // Boxed: the SDK's futures are too deeply nested for the compiler.
        let put = self.publisher.send_later(&self.config.queue_url, message, request_id, delay);
        if let Err(error) = Box::pin(put).await {
            tracing::warn!(message_id = %id, error = chain(&error),
                "could not enqueue message, leaving it to the sweep");
        }
    }
}
