//! Consumer of `[media]`: copies files of inbound messages from Twilio to object storage, and deletes the copies of
//! erased files.
//!
//! Reads and writes Postgres, calls Twilio and the storage services to which it redirects, writes objects, puts a hint
//! about events on `[events]`. A record is only a hint: the rows in Postgres decide what is done, so duplicates have no
//! effect, and `retry-sends` replaces lost hints. A failed attempt does not fail its record: the file is due again at
//! its time (`common/docs/decisions/0033-media.md`).

mod task;

use common::clock;
use common::config::{Configuration, Env};
use common::db::media::{self, ClaimedFile};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::ids::MessageId;
use common::queue::{Batch, MediaMessage, Publisher, PublisherConfig, Record};
use common::service::event_hints::{EventHints, EventHintsConfig};
use common::storage::{Storage, StorageConfig, StorageError};
use common::telemetry::{self, Metric};
use common::twilio::{ClientError, MediaFiles, MediaLimits, TwilioConfig};
use futures::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use task::Done;

/// Configuration, read from the environment: [`DatabaseConfig`], [`PublisherConfig`], [`EventHintsConfig`],
/// [`TwilioConfig`], [`MediaLimits`], [`StorageConfig`], and
///
/// - `MEDIA_BUCKET`: where files are stored, as `media/<id>`.
/// - `MEDIA_RETRY_DELAYS_SECONDS` (30, 60, 300, 1800, 7200, 21600, 43200): the delays between attempts. After the last
///   one a file fails.
/// - `MEDIA_NOT_FOUND_SECONDS` (600): how long after its receipt a message may have files that Twilio does not have
///   yet.
/// - `MEDIA_DELETE_AT_TWILIO` (false): whether a file is deleted at Twilio after it was stored.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    publisher: PublisherConfig,
    events: EventHintsConfig,
    twilio: TwilioConfig,
    limits: MediaLimits,
    bucket: StorageConfig,
    policy: Policy,
}

/// When a file is attempted again, and what happens after it was stored.
#[derive(Debug, Clone)]
struct Policy {
    retry_delays: Vec<Duration>,
    not_found: Duration,
    delete_at_twilio: bool,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let events = EventHintsConfig::from_env(env);
        let twilio = TwilioConfig::from_env(env);
        let limits = MediaLimits::from_env(env);
        let bucket = StorageConfig::required(env, "MEDIA_BUCKET");
        let delays = [30, 60, 300, 1_800, 7_200, 21_600, 43_200];
        let retry_delays = env.seconds_list("MEDIA_RETRY_DELAYS_SECONDS", &delays);
        let not_found = env.seconds("MEDIA_NOT_FOUND_SECONDS", 0..=86_400, 600);
        let delete_at_twilio = env.parse_or("MEDIA_DELETE_AT_TWILIO", false);
        let policy = Policy {
            retry_delays: retry_delays?,
            not_found: not_found?,
            delete_at_twilio: delete_at_twilio?,
        };
        Some(Self {
            database: database?,
            publisher: publisher?,
            events: events?,
            twilio: twilio?,
            limits: limits?,
            bucket: bucket?,
            policy,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
    events: EventHints,
    twilio: MediaFiles,
    storage: Storage,
    policy: Policy,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings of Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The client of Twilio.
    #[error(transparent)]
    Twilio(#[from] ClientError),
    /// The client of object storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl App {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let events = EventHints::new(Publisher::new(config.publisher), config.events);
        let twilio = MediaFiles::new(config.twilio, config.limits)?;
        let storage = Storage::new(&config.bucket)?;
        db.warm_up().await;
        Ok(Self { db, events, twilio, storage, policy: config.policy })
    }
}

/// The records of a batch by their messages.
type Records = HashMap<MessageId, Vec<Record<MediaMessage>>>;

/// Does what is due for the files of a batch's messages, all at the same time.
pub async fn handle(app: &App, mut batch: Batch<MediaMessage>) -> Batch<MediaMessage> {
    let mut records = Records::new();
    for record in std::mem::take(&mut batch.records) {
        let MediaMessage::V1(media) = &record.message;
        records.entry(media.message_id).or_default().push(record);
    }
    let messages: Vec<MessageId> = records.keys().copied().collect();
    if messages.is_empty() {
        return batch;
    }
    let claimed = match media::claim(&app.db, &messages, clock::now()).await {
        Ok(claimed) => claimed,
        Err(error) => {
            messages.iter().for_each(|message| fail(&mut batch, &records, *message, &error));
            return batch;
        }
    };
    let outcomes = join_all(claimed.iter().map(|file| task::run(app, file))).await;
    let mut failed = BTreeSet::new();
    let mut stored = 0;
    for (file, outcome) in claimed.iter().zip(outcomes) {
        match outcome {
            Ok(done) => stored += report(file, &done),
            Err(error) if failed.insert(file.message_id) => {
                fail(&mut batch, &records, file.message_id, &error)
            }
            Err(_) => {}
        }
    }
    telemetry::count(Metric::MediaStored, stored);
    if stored > 0 {
        app.events.send().await;
    }
    batch
}

fn fail(batch: &mut Batch<MediaMessage>, records: &Records, message: MessageId, error: &DbError) {
    for record in records.get(&message).into_iter().flatten() {
        batch.fail(&record.sqs_message_id, &record.request_id, error);
    }
}

/// Logs and counts what was done. Returns how many files were stored.
fn report(file: &ClaimedFile, done: &Done) -> usize {
    let ClaimedFile { id, message_id, attempts, .. } = file;
    match done {
        Done::Stored { content_type, size } => {
            tracing::info!(media_id = %id, %message_id, content_type, size, "stored a file");
            return 1;
        }
        Done::Failed { code, error } => {
            telemetry::count_outcome(Metric::MediaFailed, code, 1);
            tracing::warn!(media_id = %id, %message_id, code, error, "could not store a file");
        }
        Done::Deferred { error } => {
            telemetry::count(Metric::MediaRetried, 1);
            tracing::info!(media_id = %id, %message_id, attempts, error, "a file is attempted again later");
        }
        Done::Kept { error } => {
            tracing::error!(media_id = %id, %message_id, error, "could not delete a file at Twilio");
        }
        Done::DeletedAtTwilio => tracing::info!(media_id = %id, %message_id, "deleted a file at Twilio"),
        Done::Removed => {
            telemetry::count(Metric::MediaRemoved, 1);
            tracing::info!(media_id = %id, %message_id, "deleted the copy of an erased file");
        }
    }
    0
}
