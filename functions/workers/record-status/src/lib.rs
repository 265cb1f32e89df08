//! Consumer of `[status]`: appends status callbacks to the history and moves their messages forward, a batch in one
//! statement.
//!
//! Reads and writes Postgres, and puts a hint about events on `[events]`. Records that can never be stored are made
//! visible in `[status]` at once, so that they reach the dead-letter queue within seconds. Outcomes are those of
//! [`common::queue`].

use common::clock;
use common::config::{Configuration, Env};
use common::db::statuses::{self, NewStatus, RecordedStatus};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::message::Status;
use common::domain::sids::MessageSid;
use common::queue::{Batch, Publisher, PublisherConfig, Record, WebhookMessage};
use common::service::batches;
use common::service::event_hints::{EventHints, EventHintsConfig};
use common::telemetry::{self, Metric};
use common::twilio::{ErrorClass, Form, MessageSidMissing, RenewalPolicy, StatusCallback, WebhookKind};
use std::collections::{BTreeMap, BTreeSet};

/// Configuration, read from the environment: [`DatabaseConfig`], [`RenewalPolicy`], [`PublisherConfig`],
/// [`EventHintsConfig`], and `STATUS_QUEUE_URL`, the queue of the records.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    renewals: RenewalPolicy,
    publisher: PublisherConfig,
    queue_url: String,
    events: EventHintsConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let renewals = RenewalPolicy::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let queue_url = env.url("STATUS_QUEUE_URL");
        let events = EventHintsConfig::from_env(env);
        Some(Self {
            database: database?,
            renewals: renewals?,
            publisher: publisher?,
            queue_url: queue_url?.into(),
            events: events?,
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
        Ok(Self { config, db, publisher, events })
    }
}

/// Records a batch.
pub async fn handle(app: &App, mut batch: Batch<WebhookMessage>) -> Batch<WebhookMessage> {
    let mut received = Vec::with_capacity(batch.records.len());
    for record in std::mem::take(&mut batch.records) {
        match read(&record) {
            Ok(status) => received.push((record, status)),
            Err(error) => batch.fail_permanently(&record.sqs_message_id, &record.request_id, &error),
        }
    }
    record(app, &mut batch, &received).await;
    app.publisher.make_visible(&app.config.queue_url, batch.poison()).await;
    batch
}

/// A record with its status callback.
type Received = (Record<WebhookMessage>, NewStatus);

async fn record(app: &App, batch: &mut Batch<WebhookMessage>, received: &[Received]) {
    let callbacks: Vec<NewStatus> = received.iter().map(|(_, status)| status.clone()).collect();
    let written = batches::write(&callbacks, async |callbacks| {
        statuses::record(&app.db, callbacks, &app.config.renewals, clock::now()).await
    })
    .await;
    let records: Vec<_> = received.iter().map(|(record, _)| record).collect();
    written.fail_records(batch, &records);
    let received = received.iter().enumerate();
    let received: Vec<_> = received
        .filter(|(position, _)| written.is_written(*position))
        .map(|(_, received)| received)
        .collect();
    if received.is_empty() {
        return;
    }
    report(&written.rows, &received);
    report_our_faults(&written.rows, &received);
    report_deliveries(&written.rows, &received);
    if !written.rows.is_empty() {
        app.events.send().await;
    }
}

fn report(recorded: &[RecordedStatus], received: &[&Received]) {
    telemetry::count(Metric::StatusesStored, recorded.len());
    telemetry::count(Metric::Duplicates, received.len().saturating_sub(recorded.len()));
    for status in recorded {
        let twilio_sid = &status.twilio_sid;
        let record = received.iter().find(|(_, callback)| callback.twilio_sid == *twilio_sid);
        let _request = telemetry::request(record.map_or("", |(record, _)| &record.request_id)).entered();
        if let Some(claimed) = status.disagreeing_id {
            tracing::warn!(%twilio_sid, %claimed, "callback message id does not match the SID");
        }
        if status.contradicts {
            tracing::warn!(%twilio_sid, "status callback contradicts the final status");
        }
        match (status.message_id, status.renewed_at) {
            (None, _) => tracing::info!(%twilio_sid, "stored a status callback for an unknown SID"),
            (Some(message_id), Some(at)) => {
                telemetry::count(Metric::SendsRenewed, 1);
                tracing::info!(%twilio_sid, %message_id, %at, "undelivered message scheduled for retry");
            }
            (Some(_), None) => {}
        }
    }
}

/// Records the latency of delivered messages, once for each message of a batch.
fn report_deliveries(recorded: &[RecordedStatus], received: &[&Received]) {
    let delivered = received.iter().filter(|(_, callback)| callback.status == Some(Status::Delivered));
    let times: BTreeMap<&MessageSid, _> =
        delivered.map(|(_, callback)| (&callback.twilio_sid, callback.received_at)).collect();
    for (twilio_sid, received_at) in times {
        let status = recorded.iter().find(|status| status.twilio_sid == *twilio_sid);
        if let Some(wanted_at) = status.and_then(|status| status.wanted_at) {
            let seconds = received_at.duration_since(wanted_at).as_secs_f64();
            telemetry::record(Metric::DeliveryLatency, seconds.max(0.0));
        }
    }
}

/// Counts undelivered messages that point to a problem with our account, once per message and batch, for the alarm.
fn report_our_faults(recorded: &[RecordedStatus], received: &[&Received]) {
    let faults = received.iter().map(|(_, callback)| callback).filter(|callback| is_our_fault(callback));
    let sids: BTreeSet<&MessageSid> = faults.map(|callback| &callback.twilio_sid).collect();
    for twilio_sid in sids {
        if recorded.iter().any(|status| status.twilio_sid == *twilio_sid) {
            telemetry::count(Metric::SendsMisconfigured, 1);
            tracing::error!(%twilio_sid, "message undelivered because of our configuration");
        }
    }
}

/// Returns whether a message was not delivered because of our account, number or registration.
fn is_our_fault(callback: &NewStatus) -> bool {
    let failed = matches!(callback.status, Some(Status::Failed | Status::Undelivered));
    let code = callback.error_code.as_ref().filter(|_| failed).and_then(|code| code.parse().ok());
    code.map(ErrorClass::of) == Some(ErrorClass::Configuration)
}

/// The record is not a status callback.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    NoMessageSid(#[from] MessageSidMissing),
    #[error("the record is an inbound message, not a status callback")]
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
