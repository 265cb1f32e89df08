//! Consumer of `[inbound]`: stores inbound messages, a batch in one statement, and replies to them.
//!
//! Reads and writes Postgres. Puts conversations on `[identify]` (`IDENTIFY_QUEUE_URL`) if a Monitor is configured,
//! automatic replies and clarifications on `[outbound]` (`OUTBOUND_QUEUE_URL`) if they are configured, messages with
//! files on `[media]`, and a hint about events on `[events]`. Outcomes are those of [`common::queue`].

mod auto_reply;
mod clarification;
mod identify;

pub use auto_reply::AutoReplies;
pub use clarification::Clarification;
pub use identify::IdentifyQueue;

use common::config::{Configuration, Env};
use common::db::inbound::{self, NewInbound, StoredInbound};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::sids::AccountSid;
use common::queue::{Batch, MediaMessage, Publisher, PublisherConfig, Record, WebhookMessage};
use common::service::batches;
use common::service::event_hints::{EventHints, EventHintsConfig};
use common::service::inbound::new_inbound;
use common::service::media::{MediaHints, MediaHintsConfig};
use common::telemetry::{self, Metric};
use common::twilio::{Form, InboundSms, MessageSidMissing, WebhookKind};

/// Configuration, read from the environment: [`DatabaseConfig`], [`PublisherConfig`], [`IdentifyQueue`],
/// [`AutoReplies`], [`Clarification`], [`EventHintsConfig`], [`MediaHintsConfig`], and
///
/// - `INBOUND_QUEUE_URL`: the queue of the records.
/// - `OUTBOUND_QUEUE_URL`: the queue for automatic replies.
/// - `TWILIO_ACCOUNT_SID`: the account of messages that do not name one. Their signatures were valid for our token, and
///   the API finds conversations, with their opt-outs, by account.
/// - `TWILIO_PHONE_NUMBER`: our numbers, which get no automatic replies.
#[derive(Debug, Clone)]
pub struct Config {
    account_sid: AccountSid,
    /// Our numbers, which get no automatic replies.
    phone_numbers: Vec<String>,
    database: DatabaseConfig,
    publisher: PublisherConfig,
    inbound_queue_url: String,
    outbound_queue_url: String,
    identify: Option<IdentifyQueue>,
    auto_replies: Option<AutoReplies>,
    clarification: Option<Clarification>,
    events: EventHintsConfig,
    media: MediaHintsConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.parse("TWILIO_ACCOUNT_SID");
        let phone_numbers = env.optional_list("TWILIO_PHONE_NUMBER");
        let database = DatabaseConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let inbound_queue_url = env.url("INBOUND_QUEUE_URL");
        let outbound_queue_url = env.url("OUTBOUND_QUEUE_URL");
        let identify = IdentifyQueue::from_env(env);
        let auto_replies = AutoReplies::from_env(env);
        let clarification = Clarification::from_env(env);
        let events = EventHintsConfig::from_env(env);
        let media = MediaHintsConfig::from_env(env);
        Some(Self {
            account_sid: account_sid?,
            phone_numbers: phone_numbers?,
            database: database?,
            publisher: publisher?,
            inbound_queue_url: inbound_queue_url?.into(),
            outbound_queue_url: outbound_queue_url?.into(),
            identify: identify?,
            auto_replies: auto_replies?,
            clarification: clarification?,
            events: events?,
            media: media?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    publisher: Publisher,
    events: EventHints,
    media: MediaHints,
}

impl App {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`DbError`] if the settings of Postgres are invalid. An unavailable Postgres is not an error.
    pub async fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        db.warm_up().await;
        let publisher = Publisher::new(config.publisher.clone());
        let events = EventHints::new(publisher.clone(), config.events.clone());
        let media = MediaHints::new(publisher.clone(), config.media.clone());
        Ok(Self { config, db, publisher, events, media })
    }
}

/// Stores a batch, queues its conversations for identification, and sends clarifications and automatic replies.
pub async fn handle(app: &App, mut batch: Batch<WebhookMessage>) -> Batch<WebhookMessage> {
    let mut messages = Vec::with_capacity(batch.records.len());
    for record in std::mem::take(&mut batch.records) {
        match read(app, &record) {
            Ok(message) => messages.push(Inbound::new(record, message)),
            Err(error) => batch.fail_permanently(&record.sqs_message_id, &record.request_id, &error),
        }
    }
    let stored = store(app, &mut batch, messages).await;
    if let Some(clarification) = app.config.clarification {
        clarification::send(app, clarification, &mut batch, &stored).await;
    }
    if let Some(replies) = &app.config.auto_replies {
        auto_reply::send(app, replies, &mut batch, &stored).await;
    }
    app.publisher.make_visible(&app.config.inbound_queue_url, batch.poison()).await;
    batch
}

/// A record with its message and the language for an automatic reply: the conversation's language, or for a duplicate,
/// for which Postgres returns no row, the language of the text.
struct Inbound {
    record: Record<WebhookMessage>,
    message: NewInbound,
    language: Language,
}

impl Inbound {
    fn new(record: Record<WebhookMessage>, message: NewInbound) -> Self {
        let language = message.language;
        Self { record, message, language }
    }

    fn set_language(&mut self, stored: &[StoredInbound]) {
        if let Some(stored) = stored.iter().find(|stored| stored.twilio_sid == self.message.twilio_sid) {
            self.language = stored.chosen_language;
        }
    }
}

/// Stores messages and returns those that are in Postgres now, including duplicates.
async fn store(app: &App, batch: &mut Batch<WebhookMessage>, mut inbound: Vec<Inbound>) -> Vec<Inbound> {
    let messages: Vec<NewInbound> = inbound.iter().map(|inbound| inbound.message.clone()).collect();
    let written = batches::write(&messages, async |messages| inbound::store(&app.db, messages).await).await;
    let records: Vec<_> = inbound.iter().map(|inbound| &inbound.record).collect();
    written.fail_records(batch, &records);
    let mut positions = 0..;
    inbound.retain(|_| positions.next().is_some_and(|position| written.is_written(position)));
    if inbound.is_empty() {
        return inbound;
    }
    inbound.iter_mut().for_each(|inbound| inbound.set_language(&written.rows));
    report(&written.rows, &inbound);
    let identify = async {
        if let Some(queue) = &app.config.identify {
            identify::enqueue(app, queue, &written.rows, &inbound).await;
        }
    };
    let hint = async {
        if !written.rows.is_empty() {
            app.events.send().await;
        }
    };
    tokio::join!(identify, hint, copy_media(app, &written.rows, &inbound));
    inbound
}

/// Puts newly stored messages with files on `[media]`. `retry-sends` finds those that are not on the queue.
async fn copy_media(app: &App, stored: &[StoredInbound], batch: &[Inbound]) {
    let hint = |stored: &StoredInbound| {
        let mut messages = batch.iter().map(|inbound| &inbound.message);
        let message = messages.find(|message| message.twilio_sid == stored.twilio_sid)?;
        let has_files = message.media.as_array().is_some_and(|files| !files.is_empty());
        let hint = MediaMessage::new(stored.message_id, stored.conversation_id);
        has_files.then(|| (hint, message.request_id.clone()))
    };
    let hints: Vec<_> = stored.iter().filter_map(hint).collect();
    app.media.send(&hints).await;
}

fn report(stored: &[StoredInbound], batch: &[Inbound]) {
    telemetry::count(Metric::MessagesStored, stored.len());
    telemetry::count(Metric::Duplicates, batch.len() - stored.len());
    let of_batch = |stored: &StoredInbound| {
        batch.iter().map(|inbound| &inbound.message).find(|message| message.twilio_sid == stored.twilio_sid)
    };
    let results = |result: OptOut| {
        stored.iter().filter_map(of_batch).filter(|message| message.opt_out_result == result).count()
    };
    telemetry::count(Metric::OptOuts, results(OptOut::OptOut));
    telemetry::count(Metric::OptOutsUnsure, results(OptOut::Unsure));
    for message in stored.iter().filter_map(of_batch) {
        telemetry::count_outcome(Metric::LanguagesDetected, message.language.as_str(), 1);
    }
    for stored in stored {
        let message = of_batch(stored);
        let _request = telemetry::request(message.map_or("", |message| &message.request_id)).entered();
        tracing::info!(
            message_id = %stored.message_id,
            conversation_id = %stored.conversation_id,
            twilio_sid = %stored.twilio_sid,
            language_previous = stored.previous_language.as_str(),
            language_detected = message.map_or("", |message| message.language.as_str()),
            language_confidence = message.map_or(0.0, |message| message.language_confidence),
            language_chosen = stored.chosen_language.as_str(),
            "stored an inbound message"
        );
    }
}

/// The record is not an inbound message.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    NoMessageSid(#[from] MessageSidMissing),
    #[error("the record is a status callback, not an inbound message")]
    StatusCallback,
}

fn read(app: &App, record: &Record<WebhookMessage>) -> Result<NewInbound, ReadError> {
    let WebhookMessage::V1(webhook) = &record.message;
    // Lossy: the webhook has rejected invalid forms, so this can only be a form that another version encoded.
    let form = Form::from_urlencoded_lossy(webhook.form.as_bytes());
    if WebhookKind::of(&form) == Some(WebhookKind::Status) {
        return Err(ReadError::StatusCallback);
    }
    let sms = InboundSms::read(&form)?;
    let raw = form.to_jsonb();
    let account_sid = &app.config.account_sid;
    Ok(new_inbound(sms, account_sid, raw.value, raw.nul_removed, &record.request_id, webhook.received_at))
}
