//! Consumer of `[identify]`: looks the numbers of conversations up in the Monitor, stores the results, and updates the
//! tenants' profiles.
//!
//! Reads and writes Postgres, calls the Monitor and the profile service, puts a hint about events on `[events]`.
//! Conversations whose last lookup is recent are skipped. Outcomes are those of [`common::queue`], with one difference:
//! while the circuit breaker is open, records succeed, and `reconcile-tenants` looks their numbers up later.

use common::clock;
use common::config::{Configuration, Env};
use common::db::DbError;
use common::db::tenants::{self, Checked};
use common::domain::ids::ConversationId;
use common::queue::{Batch, IdentifyMessage, Publisher, PublisherConfig, Record};
use common::service::event_hints::{EventHints, EventHintsConfig};
use common::service::identify::{
    Identifier, IdentifierConfig, InitError, LEASE, LookupResults, NumberToCheck,
};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The maximum number of profiles to update: more than a batch has tenants.
const MAX_PROFILES: i64 = 100;

/// Configuration, read from the environment by [`IdentifierConfig`], [`PublisherConfig`] and [`EventHintsConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    identifier: IdentifierConfig,
    publisher: PublisherConfig,
    events: EventHintsConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let identifier = IdentifierConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let events = EventHintsConfig::from_env(env);
        Some(Self { identifier: identifier?, publisher: publisher?, events: events? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    identifier: Identifier,
    events: EventHints,
}

impl App {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let events = EventHints::new(Publisher::new(config.publisher), config.events);
        Ok(Self { identifier: Identifier::init(config.identifier).await?, events })
    }
}

/// The records of a batch by their conversations.
type Records = HashMap<ConversationId, Vec<Record<IdentifyMessage>>>;

/// Identifies the tenants of a batch.
pub async fn handle(app: &App, mut batch: Batch<IdentifyMessage>) -> Batch<IdentifyMessage> {
    let mut records = Records::new();
    for record in std::mem::take(&mut batch.records) {
        let IdentifyMessage::V1(identify) = &record.message;
        records.entry(identify.conversation_id).or_default().push(record);
    }
    if let Err(error) = identify(app, &mut batch, &records).await {
        for record in records.into_values().flatten() {
            batch.fail(&record.sqs_message_id, &record.request_id, &error);
        }
    }
    batch
}

async fn identify(app: &App, batch: &mut Batch<IdentifyMessage>, records: &Records) -> Result<(), DbError> {
    let identifier = &app.identifier;
    let Some(monitor) = identifier.monitor() else { return Ok(()) };
    let ids: Vec<ConversationId> = records.keys().copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let conversations = tenants::claim(identifier.db(), &ids, clock::now(), LEASE).await?;
    let due = conversations.iter().filter(|checked| checked.is_due).map(|checked| number(checked, records));
    let results = identifier.look_up(monitor, due.collect()).await;
    let recorded = identifier.store(&results.found).await?;
    reschedule(app, batch, records, &results, monitor.is_available()).await?;
    let known =
        conversations.into_iter().filter(|checked| !checked.is_due).filter_map(|checked| checked.tenant_id);
    let tenant_ids: BTreeSet<String> =
        known.chain(recorded.into_iter().filter_map(|outcome| outcome.tenant_id)).collect();
    let tenant_ids: Vec<String> = tenant_ids.into_iter().collect();
    identifier.settle_languages(&tenant_ids).await?;
    if !tenant_ids.is_empty() {
        app.events.send().await;
    }
    identifier.update_profiles(Some(&tenant_ids), MAX_PROFILES).await?;
    Ok(())
}

fn number(checked: &Checked, records: &Records) -> NumberToCheck {
    let first = records.get(&checked.conversation_id).and_then(|records| records.first());
    let as_received = first.map_or(checked.phone_number_canonical.canonical(), |record| {
        let IdentifyMessage::V1(identify) = &record.message;
        &identify.number
    });
    NumberToCheck::new(checked, as_received, first.map_or("", |record| &record.request_id))
}

/// Schedules the next lookup of numbers without a result. While the Monitor seems alive, their records fail, so that
/// SQS retries them; otherwise `reconcile-tenants` retries the numbers.
async fn reschedule(
    app: &App,
    batch: &mut Batch<IdentifyMessage>,
    records: &Records,
    results: &LookupResults,
    is_available: bool,
) -> Result<(), DbError> {
    let (db, now, retry) = (app.identifier.db(), clock::now(), app.identifier.retry());
    let failed: Vec<ConversationId> =
        results.failed.iter().map(|(number, _)| number.conversation_id).collect();
    let skipped: Vec<ConversationId> = results.skipped.iter().map(|number| number.conversation_id).collect();
    if is_available {
        tenants::give_back(db, &failed, now, Duration::ZERO, false).await?;
        for (number, error) in &results.failed {
            for record in records.get(&number.conversation_id).into_iter().flatten() {
                batch.fail(&record.sqs_message_id, &record.request_id, error.as_ref());
            }
        }
    } else {
        tenants::give_back(db, &failed, now, retry, false).await?;
        for (number, error) in &results.failed {
            let error = common::error::chain(error.as_ref());
            tracing::warn!(
                request_id = number.request_id,
                error,
                "tenant lookup failed, leaving it to reconcile-tenants"
            );
        }
    }
    tenants::give_back(db, &skipped, now, retry, false).await
}
