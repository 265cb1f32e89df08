//! Consumer of `[status]`: appends status callbacks to the history and moves their messages forward, a batch in one
//! statement.
//!
//! Reads and writes Postgres, and has `[status]` hand out again at once what can never be recorded. Outcomes are those of
//! [`common::queue`].

use common::clock;
use common::config::{Configuration, Env};
use common::db::statuses::{self, NewStatus, RecordedStatus};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::message::Status;
use common::queue::{Batch, Publisher, PublisherConfig, Record, WebhookMessage};
use common::telemetry::{self, Metric};
use common::twilio::{ErrorClass, Form, MessageSidMissing, RenewalPolicy, StatusCallback, WebhookKind};
use std::collections::BTreeSet;

/// What the function is told by its environment: what [`DatabaseConfig`], [`RenewalPolicy`] and [`PublisherConfig`] read, and
/// `STATUS_QUEUE_URL`, where the records come from.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    renewals: RenewalPolicy,
    publisher: PublisherConfig,
    queue_url: String,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let queue_url = env.url("STATUS_QUEUE_URL");
        Some(Self {
            database: database?,
            renewals: renewals?,
            publisher: publisher?,
            queue_url: queue_url?.into(),
        })
    }
}

/// What is built once and borrowed by every batch.
#[derive(Debug)]
pub struct App {
    db: Db,
    renewals: RenewalPolicy,
    publisher: Publisher,
    queue_url: String,
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
            db,
            renewals: config.renewals,
            publisher: Publisher::new(config.publisher),
            queue_url: config.queue_url,
        })
    }
}

/// Records a batch.
pub async fn handle(app: &App, mut batch: Batch<WebhookMessage>) -> Batch<WebhookMessage> {
    let mut kept = Vec::with_capacity(batch.records.len());
    for record in std::mem::take(&mut batch.records) {
        match read(&record) {
            Ok(status) => kept.push((record, status)),
            Err(error) => batch.fail_for_good(&record.sqs_message_id, &record.request_id, &error),
        }
    }
    record(app, &mut batch, &kept).await;
    app.publisher.hand_out_again(&app.queue_url, batch.hopeless()).await;
    batch
}

/// Records callbacks together. If Postgres refuses one of them for what it holds, all are recorded one by one, and that one
/// fails alone.
async fn record(app: &App, batch: &mut Batch<WebhookMessage>, kept: &[Kept]) {
    if kept.is_empty() {
        return;
    }
    match store(app, kept).await {
        Ok(()) => {}
        Err(error) if error.is_about_the_data() => {
            for one in kept.chunks(1) {
                let record = &one[0].0;
                match store(app, one).await {
                    Ok(()) => {}
                    Err(error) if error.is_about_the_data() => {
                        batch.fail_for_good(&record.sqs_message_id, &record.request_id, &error);
                    }
                    Err(error) => batch.fail(&record.sqs_message_id, &record.request_id, &error),
                }
            }
        }
        Err(error) => {
            for (record, _) in kept {
                batch.fail(&record.sqs_message_id, &record.request_id, &error);
            }
        }
    }
}

/// A record with the callback that it became.
type Kept = (Record<WebhookMessage>, NewStatus);

async fn store(app: &App, kept: &[Kept]) -> Result<(), DbError> {
    let callbacks: Vec<NewStatus> = kept.iter().map(|(_, status)| status.clone()).collect();
    let recorded = statuses::record(&app.db, &callbacks, &app.renewals, clock::now()).await?;
    report(&recorded, kept);
    report_our_faults(&recorded, kept);
    Ok(())
}

fn report(recorded: &[RecordedStatus], of: &[Kept]) {
    telemetry::count(Metric::StatusesStored, recorded.len());
    telemetry::count(Metric::Duplicates, of.len().saturating_sub(recorded.len()));
    for status in recorded {
        let twilio_sid = status.twilio_sid.as_str();
        let came_as = of.iter().find(|(_, came)| came.twilio_sid == twilio_sid);
        let _request = telemetry::request(came_as.map_or("", |(record, _)| &record.request_id)).entered();
        if let Some(claimed) = status.disagreeing_id {
            tracing::warn!(twilio_sid, %claimed, "the callback's id names another message than its SID");
        }
        if status.contradicts {
            tracing::warn!(twilio_sid, "a callback contradicts a final status");
        }
        match (status.message_id, status.renewed_at) {
            (None, _) => tracing::info!(twilio_sid, "a callback waits for its message"),
            (Some(message_id), Some(at)) => {
                telemetry::count(Metric::SendsRenewed, 1);
                tracing::info!(twilio_sid, %message_id, %at, "not delivered: it is created anew");
            }
            (Some(_), None) => {}
        }
    }
}

/// Raises the alarm for what was not delivered for our own fault, each message once in a batch.
fn report_our_faults(recorded: &[RecordedStatus], of: &[Kept]) {
    let faults = of.iter().map(|(_, came)| came).filter(|came| is_our_fault(came));
    let sids: BTreeSet<&str> = faults.map(|came| came.twilio_sid.as_str()).collect();
    for twilio_sid in sids {
        if recorded.iter().any(|status| status.twilio_sid == twilio_sid) {
            telemetry::count(Metric::SendsMisconfigured, 1);
            tracing::error!(
                twilio_sid,
                "not delivered, since our account, number or registration is not in order"
            );
        }
    }
}

/// Whether a message was not delivered for what is wrong with our side, so that somebody must be told.
fn is_our_fault(callback: &NewStatus) -> bool {
    let failed = matches!(callback.status, Some(Status::Failed | Status::Undelivered));
    let code = callback.error_code.as_ref().filter(|_| failed).and_then(|code| code.parse().ok());
    code.map(ErrorClass::of) == Some(ErrorClass::Configuration)
}

/// Why a record holds no status callback.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    NoMessageSid(#[from] MessageSidMissing),
    #[error("an incoming message on the queue for status callbacks")]
    IncomingMessage,
}

fn read(record: &Record<WebhookMessage>) -> Result<NewStatus, ReadError> {
    let WebhookMessage::V1(webhook) = &record.message;
    let form = Form::from_urlencoded_lossy(webhook.form.as_bytes());
    if WebhookKind::of(&form) == Some(WebhookKind::Incoming) {
        return Err(ReadError::IncomingMessage);
    }
    let query = Form::from_urlencoded_lossy(webhook.query.as_bytes());
    let callback = StatusCallback::read(&form, &query)?;
    let raw = form.to_jsonb();
    Ok(NewStatus {
        id: clock::new_id(),
        twilio_sid: callback.message_sid,
        message_id: callback.message_id,
        status: Status::from_twilio(&callback.message_status),
        event_status: callback.message_status,
        error_code: callback.error_code.map(|code| code.to_string()),
        raw_webhook_data: raw.value,
        nul_removed: raw.nul_removed,
        received_at: webhook.received_at,
    })
}
