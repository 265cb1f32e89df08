//! Consumer of `[inbound]`: stores inbound messages, a batch in one statement, and the answers owed to them.
//!
//! Reads and writes Postgres; puts conversations on `[identify]` (`IDENTIFY_QUEUE_URL`) where there is a Monitor to ask
//! whose they are, and automatic replies, where they are configured, on `[outbound]` (`OUTBOUND_QUEUE_URL`). Outcomes are
//! those of [`common::queue`].

mod auto_reply;
mod identify;
mod message;

pub use auto_reply::AutoReplies;
pub use identify::IdentifyQueue;
pub use message::new_inbound;

use common::config::{Configuration, Env};
use common::db::inbound::{self, NewInbound, StoredInbound};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::keywords::OptOut;
use common::queue::{Batch, Publisher, PublisherConfig, Record, WebhookMessage};
use common::telemetry::{self, Metric};
use common::twilio::{Form, InboundSms, MessageSidMissing, WebhookKind};

/// What the function is told by its environment: what [`DatabaseConfig`], [`PublisherConfig`], [`IdentifyQueue`] and
/// [`AutoReplies`] read, `INBOUND_QUEUE_URL`, where the records come from, `OUTBOUND_QUEUE_URL`, and `TWILIO_ACCOUNT_SID`, to which a message belongs that names no account:
/// its webhook was signed with our token all the same, and what it says, STOP above all, must be found where the API looks.
#[derive(Debug, Clone)]
pub struct Config {
    account_sid: String,
    phone_numbers: Vec<String>,
    database: DatabaseConfig,
    publisher: PublisherConfig,
    inbound_queue_url: String,
    outbound_queue_url: String,
    identify: Option<IdentifyQueue>,
    auto_replies: Option<AutoReplies>,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let account_sid = env.text("TWILIO_ACCOUNT_SID");
        let phone_numbers = env.optional_list("TWILIO_PHONE_NUMBER");
        let database = DatabaseConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let inbound_queue_url = env.url("INBOUND_QUEUE_URL");
        let outbound_queue_url = env.url("OUTBOUND_QUEUE_URL");
        let identify = IdentifyQueue::from_env(env);
        let auto_replies = AutoReplies::from_env(env);
        Some(Self {
            account_sid: account_sid?,
            phone_numbers: phone_numbers?,
            database: database?,
            publisher: publisher?,
            inbound_queue_url: inbound_queue_url?.into(),
            outbound_queue_url: outbound_queue_url?.into(),
            identify: identify?,
            auto_replies: auto_replies?,
        })
    }
}

/// What is built once and borrowed by every batch.
#[derive(Debug)]
pub struct App {
    account_sid: String,
    /// Our numbers, which get no automatic replies.
    phone_numbers: Vec<String>,
    db: Db,
    publisher: Publisher,
    inbound_queue_url: String,
    outbound_queue_url: String,
    identify: Option<IdentifyQueue>,
    auto_replies: Option<AutoReplies>,
}

impl App {
    /// Builds it, and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`DbError`] when the connection can't be set up at all. Postgres being away is no error.
    pub async fn init(config: Config) -> Result<Self, DbError> {
        let db = Db::new(&config.database)?;
        db.warm_up().await;
        Ok(Self {
            account_sid: config.account_sid,
            phone_numbers: config.phone_numbers,
            db,
            publisher: Publisher::new(config.publisher),
            inbound_queue_url: config.inbound_queue_url,
            outbound_queue_url: config.outbound_queue_url,
            identify: config.identify,
            auto_replies: config.auto_replies,
        })
    }
}

/// Stores a batch, then the answers that it calls for, and has it asked whose numbers it came from.
pub async fn handle(app: &App, mut batch: Batch<WebhookMessage>) -> Batch<WebhookMessage> {
    let mut readable = Vec::with_capacity(batch.records.len());
    for record in std::mem::take(&mut batch.records) {
        match read(app, &record) {
            Ok(message) => readable.push(Kept::new(record, message)),
            Err(error) => batch.fail_for_good(&record.sqs_message_id, &record.request_id, &error),
        }
    }
    let stored = store(app, &mut batch, readable).await;
    if let Some(replies) = &app.auto_replies {
        auto_reply::answer(app, replies, &mut batch, &stored).await;
    }
    app.publisher.hand_out_again(&app.inbound_queue_url, batch.hopeless()).await;
    batch
}

/// A record with the message that it became, and the language that its writer is to be answered in: what the conversation
/// holds, and for a duplicate, of which Postgres tells nothing, what the text itself says.
struct Kept {
    record: Record<WebhookMessage>,
    message: NewInbound,
    language: String,
}

impl Kept {
    fn new(record: Record<WebhookMessage>, message: NewInbound) -> Self {
        let language = message.language.to_owned();
        Self { record, message, language }
    }

    fn settle(&mut self, stored: &[StoredInbound]) {
        if let Some(stored) = stored.iter().find(|stored| stored.twilio_sid == self.message.twilio_sid) {
            self.language.clone_from(&stored.chosen_language);
        }
    }
}

/// Stores messages and returns those that are stored now, whether by this batch or an earlier one. If Postgres
/// refuses one of them for what it holds, all are stored one by one, and that one fails alone.
async fn store(app: &App, batch: &mut Batch<WebhookMessage>, mut kept: Vec<Kept>) -> Vec<Kept> {
    if kept.is_empty() {
        return kept;
    }
    let messages: Vec<NewInbound> = kept.iter().map(|kept| kept.message.clone()).collect();
    match inbound::store(&app.db, &messages).await {
        Ok(stored) => {
            settle(app, &stored, &messages).await;
            kept.iter_mut().for_each(|kept| kept.settle(&stored));
            kept
        }
        Err(error) if error.is_about_the_data() => store_one_by_one(app, batch, kept).await,
        Err(error) => {
            for Kept { record, .. } in &kept {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
            Vec::new()
        }
    }
}

async fn store_one_by_one(app: &App, batch: &mut Batch<WebhookMessage>, kept: Vec<Kept>) -> Vec<Kept> {
    let mut stored = Vec::with_capacity(kept.len());
    for mut one in kept {
        match inbound::store(&app.db, std::slice::from_ref(&one.message)).await {
            Ok(fresh) => {
                settle(app, &fresh, std::slice::from_ref(&one.message)).await;
                one.settle(&fresh);
                stored.push(one);
            }
            Err(error) if error.is_about_the_data() => {
                batch.fail_for_good(&one.record.sqs_message_id, &one.record.request_id, &error);
            }
            Err(error) => batch.fail(&one.record.sqs_message_id, &one.record.request_id, &error),
        }
    }
    stored
}

/// Does what stored messages call for besides answers.
async fn settle(app: &App, stored: &[StoredInbound], of: &[NewInbound]) {
    report(stored, of);
    if let Some(queue) = &app.identify {
        identify::ask_for(app, queue, stored, of).await;
    }
}

fn report(stored: &[StoredInbound], of: &[NewInbound]) {
    telemetry::count(Metric::MessagesStored, stored.len());
    telemetry::count(Metric::Duplicates, of.len() - stored.len());
    let is_stored =
        |message: &&NewInbound| stored.iter().any(|stored| stored.twilio_sid == message.twilio_sid);
    let results = |result: OptOut| {
        of.iter().filter(is_stored).filter(|message| message.opt_out_result == result.as_str()).count()
    };
    telemetry::count(Metric::OptOuts, results(OptOut::OptOut));
    telemetry::count(Metric::OptOutsUnsure, results(OptOut::Unsure));
    for message in stored {
        let came_as = of.iter().find(|came| came.twilio_sid == message.twilio_sid);
        let _request = telemetry::request(came_as.map_or("", |came| &came.request_id)).entered();
        tracing::info!(
            message_id = %message.message_id,
            conversation_id = %message.conversation_id,
            twilio_sid = message.twilio_sid,
            language_previous = message.previous_language,
            language_detected = came_as.map_or("", |came| came.language),
            language_confidence = came_as.map_or(0.0, |came| came.language_confidence),
            language_chosen = message.chosen_language,
            "stored an inbound message"
        );
    }
}

/// Why a record holds no incoming message.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    NoMessageSid(#[from] MessageSidMissing),
    #[error("a status callback on the queue for incoming messages")]
    StatusCallback,
}

fn read(app: &App, record: &Record<WebhookMessage>) -> Result<NewInbound, ReadError> {
    let WebhookMessage::V1(webhook) = &record.message;
    // The webhook refused what it could not read; leniency here can only mean another version's way of writing.
    let form = Form::from_urlencoded_lossy(webhook.form.as_bytes());
    if WebhookKind::of(&form) == Some(WebhookKind::Status) {
        return Err(ReadError::StatusCallback);
    }
    let mut sms = InboundSms::read(&form)?;
    sms.account_sid.get_or_insert_with(|| app.account_sid.clone());
    let raw = form.to_jsonb();
    Ok(new_inbound(sms, raw.value, raw.nul_removed, &record.request_id, webhook.received_at))
}
