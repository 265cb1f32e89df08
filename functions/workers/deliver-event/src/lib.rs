//! Consumer of `[events]` and `[slow-events]`: compares new events with the subscriptions, and delivers the events of
//! streams to subscribers.
//!
//! Reads and writes Postgres, calls subscribers, puts hints on both queues. A record is only a hint: the rows in
//! Postgres decide what is delivered (`common::service::delivery`), so duplicates have no effect, and `retry-events`
//! replaces lost ones. A failed attempt does not fail its record: the event is attempted again at its time.

use common::config::{Configuration, Env};
use common::db::deliveries::DueStream;
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::delivery::Stream;
use common::queue::{Batch, EventsMessage, Publisher, PublisherConfig, Record};
use common::service::delivery::{Deliverer, DeliveryConfig, HintConfig, Hints};
use common::subscribers::{Subscribers, SubscribersConfig, SubscribersError};
use common::telemetry;
use futures::future::join_all;

/// How many streams an invocation delivers at the same time. Further ones of a comparison get a hint, so that other
/// invocations deliver them.
const MAX_STREAMS: usize = 10;

/// Configuration, read from the environment by [`DatabaseConfig`], [`PublisherConfig`], [`SubscribersConfig`],
/// [`HintConfig`] and [`DeliveryConfig`].
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    publisher: PublisherConfig,
    subscribers: SubscribersConfig,
    hints: HintConfig,
    delivery: DeliveryConfig,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let publisher = PublisherConfig::from_env(env);
        let subscribers = SubscribersConfig::from_env(env);
        let hints = HintConfig::from_env(env);
        let delivery = DeliveryConfig::from_env(env);
        Some(Self {
            database: database?,
            publisher: publisher?,
            subscribers: subscribers?,
            hints: hints?,
            delivery: delivery?,
        })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
    hints: Hints,
    deliverer: Deliverer,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings of Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The client of subscribers.
    #[error(transparent)]
    Subscribers(#[from] SubscribersError),
}

impl App {
    /// Builds the clients and connects to Postgres.
    ///
    /// # Errors
    ///
    /// [`InitError`] if the configuration is invalid. An unavailable service is not an error.
    pub async fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let deliverer = Deliverer::new(config.delivery, Subscribers::new(&config.subscribers)?);
        let hints = Hints::new(Publisher::new(config.publisher), config.hints);
        db.warm_up().await;
        Ok(Self { db, hints, deliverer })
    }
}

/// Compares events if a record says that some were written, and delivers the events of the streams of a batch.
pub async fn handle(app: &App, mut batch: Batch<EventsMessage>) -> Batch<EventsMessage> {
    let mut work = Work::of(std::mem::take(&mut batch.records));
    let mut others = Vec::new();
    if !work.writers.is_empty() {
        match app.hints.compare(&app.db).await {
            Ok(due) => others = work.take(due),
            Err(error) => fail(&mut batch, &work.writers, &error),
        }
    }
    let streams = work.streams;
    let runs = streams.iter().map(|run| app.deliverer.run(&app.db, &app.hints, run.stream, run.is_slow));
    let (outcomes, ()) = tokio::join!(join_all(runs), send_hints(app, others));
    for (run, outcome) in streams.iter().zip(outcomes) {
        let Err(error) = outcome else { continue };
        fail(&mut batch, &run.records, &error);
        if run.records.is_empty() {
            let error = common::error::chain(&error);
            tracing::error!(subscription_id = %run.stream.subscription_id, error, "could not deliver events");
        }
    }
    batch
}

fn fail(batch: &mut Batch<EventsMessage>, records: &[Record<EventsMessage>], error: &DbError) {
    for record in records {
        batch.fail(&record.sqs_message_id, &record.request_id, error);
    }
}

async fn send_hints(app: &App, due: Vec<DueStream>) {
    if let Err(error) = app.hints.send(&app.db, &due).await {
        telemetry::count_error("sqs_failed");
        let error = common::error::chain(&error);
        tracing::warn!(error, "could not send hints, leaving the streams to retry-events");
    }
}

/// A stream to deliver, with the records that name it.
#[derive(Debug)]
struct StreamRun {
    stream: Stream,
    is_slow: bool,
    records: Vec<Record<EventsMessage>>,
}

/// What the records of a batch ask for.
#[derive(Debug, Default)]
struct Work {
    /// Records that say that events were written.
    writers: Vec<Record<EventsMessage>>,
    streams: Vec<StreamRun>,
}

impl Work {
    fn of(records: Vec<Record<EventsMessage>>) -> Self {
        let mut work = Self::default();
        for record in records {
            match &record.message {
                EventsMessage::V1 => work.writers.push(record),
                EventsMessage::V2(hint) => {
                    let (stream, is_slow) = (hint.stream(), hint.slow);
                    work.run(stream, is_slow).records.push(record);
                }
            }
        }
        work
    }

    fn run(&mut self, stream: Stream, is_slow: bool) -> &mut StreamRun {
        let known = self.streams.iter().position(|run| run.stream == stream);
        let place = known.unwrap_or(self.streams.len());
        if known.is_none() {
            self.streams.push(StreamRun { stream, is_slow, records: Vec::new() });
        }
        &mut self.streams[place]
    }

    /// Takes over some of the streams that a comparison found, which saves the way over the queue. Returns the others.
    fn take(&mut self, due: Vec<DueStream>) -> Vec<DueStream> {
        let mut others = Vec::new();
        for found in due {
            if !found.is_slow && self.streams.len() < MAX_STREAMS {
                self.run(found.stream(), false);
            } else {
                others.push(found);
            }
        }
        others
    }
}
