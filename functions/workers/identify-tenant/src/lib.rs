//! Consumer of `[identify]`: asks the Monitor whose numbers the batch's conversations are with, keeps its answers, and
//! tells the tenants' profiles what changed.
//!
//! Reads and writes Postgres, calls the Monitor and the profile service. A conversation of which enough is known is not
//! asked about. Outcomes are those of [`common::queue`], with one difference: once the Monitor has failed often enough to be
//! taken for dead, its records succeed, and `reconcile-tenants` asks about their numbers later.

use common::clock;
use common::config::{Configuration, Env};
use common::db::DbError;
use common::db::tenants::{self, Checked};
use common::queue::{Batch, IdentifyMessage, Record};
use identify::{Asked, Identifier, IdentifierConfig, InitError, LEASE, Number};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// As many pushes as a batch has tenants.
const PUSHES: i64 = 100;

/// What the function is told by its environment: what [`IdentifierConfig`] reads.
#[derive(Debug, Clone)]
pub struct Config {
    identifier: IdentifierConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let identifier = IdentifierConfig::from_env(env);
        Some(Self { identifier: identifier? })
    }
}

/// What is built once and borrowed by every batch.
#[derive(Debug)]
pub struct App {
    identifier: Identifier,
}

impl App {
    /// Builds it, and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] when a peer can't be spoken to at all. Its being away is no error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        Ok(Self { identifier: Identifier::init(config.identifier).await? })
    }
}

/// The records of a batch by their conversations.
type Records = HashMap<Uuid, Vec<Record<IdentifyMessage>>>;

/// Looks a batch up.
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
    // Without a Monitor there are no tenants.
    let Some(monitor) = identifier.monitor() else { return Ok(()) };
    let ids: Vec<Uuid> = records.keys().copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let conversations = tenants::claim(identifier.db(), &ids, clock::now(), LEASE).await?;
    let due = conversations.iter().filter(|checked| checked.is_due).map(|checked| number(checked, records));
    let asked = identifier.ask(monitor, due.collect()).await;
    let recorded = identifier.keep(&asked.found).await?;
    give_back(app, batch, records, &asked, monitor.is_alive()).await?;
    let known =
        conversations.into_iter().filter(|checked| !checked.is_due).filter_map(|checked| checked.tenant_id);
    let tenant_ids: BTreeSet<String> =
        known.chain(recorded.into_iter().filter_map(|outcome| outcome.tenant_id)).collect();
    let tenant_ids: Vec<String> = tenant_ids.into_iter().collect();
    identifier.settle_languages(&tenant_ids).await?;
    identifier.tell_profiles(Some(&tenant_ids), PUSHES).await?;
    Ok(())
}

fn number(checked: &Checked, records: &Records) -> Number {
    let first = records.get(&checked.conversation_id).and_then(|records| records.first());
    let as_received = first.map_or(checked.phone_number_canonical.as_str(), |record| {
        let IdentifyMessage::V1(identify) = &record.message;
        &identify.number
    });
    Number::new(checked, as_received, first.map_or("", |record| &record.request_id))
}

/// Leaves what got no answer to whoever comes next: as long as the Monitor seems alive, its record fails and comes back, to
/// find the check due; else the schedule has it.
async fn give_back(
    app: &App,
    batch: &mut Batch<IdentifyMessage>,
    records: &Records,
    asked: &Asked,
    is_alive: bool,
) -> Result<(), DbError> {
    let (db, now, retry) = (app.identifier.db(), clock::now(), app.identifier.retry());
    let failed: Vec<Uuid> = asked.failed.iter().map(|(number, _)| number.conversation_id).collect();
    let unasked: Vec<Uuid> = asked.unasked.iter().map(|number| number.conversation_id).collect();
    if is_alive {
        tenants::give_back(db, &failed, now, Duration::ZERO, false).await?;
        for (number, error) in &asked.failed {
            for record in records.get(&number.conversation_id).into_iter().flatten() {
                batch.fail(&record.sqs_message_id, &record.request_id, error.as_ref());
            }
        }
    } else {
        tenants::give_back(db, &failed, now, retry, false).await?;
        for (number, error) in &asked.failed {
            let error = common::error::chain(error.as_ref());
            tracing::warn!(
                request_id = number.request_id,
                error,
                "the Monitor seems dead: left to the schedule"
            );
        }
    }
    tenants::give_back(db, &unasked, now, retry, false).await
}
