//! Every hour: removes data that is older than its retention (`KINDS` in `config.rs`).
//!
//! - Months: a month whose last row is too old is archived, if a bucket is configured, and then dropped. Old rows of
//!   the default partition, whose ids come from a wrong clock, are deleted.
//! - Columns of messages are emptied in batches.
//! - The data of rows that were erased after they had been archived is removed from the archive.
//!
//! Everything is done in small steps with saved positions, so that the next run continues where one ended, crashed or
//! timed out. Statements that need locks give up after 500 ms and are retried, so that they do not block others. Each
//! kind runs even if another fails; then the invocation fails, which raises the alarm on errors. Repeated and
//! concurrent runs are safe.

mod config;

pub use config::Config;

use common::clock;
use common::db::partitions::{self, Partition};
use common::db::retention::{self, Column};
use common::db::{Db, DbError, LockWaits, archives};
use common::domain::month::Month;
use common::service::archive::{self, ArchiveError, Archiver, Progress};
use common::storage::{Storage, StorageError};
use common::telemetry::{self, Metric};
use config::{Data, KINDS};
use jiff::Timestamp;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How many rows one statement empties or deletes. It holds their locks for some milliseconds.
const BATCH: i32 = 500;

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    config: Config,
    db: Db,
    archive: Option<Storage>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings of Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The settings of object storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl App {
    /// Builds the clients without connecting.
    ///
    /// # Errors
    ///
    /// [`InitError`]. The function should not start. An unavailable service is not an error.
    pub fn init(config: Config) -> Result<Self, InitError> {
        let db = Db::new(&config.database)?;
        let archive = config.archive.as_ref().map(Storage::new).transpose()?;
        Ok(Self { config, db, archive })
    }
}

/// A run failed. What it removed stays removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A month could not be archived, so it was not dropped.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Some kinds failed; each was logged.
    #[error("removing {0} kinds of old data failed")]
    Kinds(usize),
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Partitions that were dropped.
    months: Vec<String>,
    /// Messages that were emptied, and deleted rows of default partitions.
    rows: i64,
    /// Rows whose data was removed from archives, because a conversation's content was erased.
    erased: usize,
    /// The size of what was removed: of dropped partitions on disk, with indexes.
    bytes: i64,
    /// Whether work is left for the next run.
    unfinished: bool,
}

/// Runs all kinds once.
///
/// # Errors
///
/// [`RemoveError::Kinds`] if a kind failed, after all have run.
pub async fn handle(app: &App) -> Result<Removed, RemoveError> {
    let (begun, now) = (Instant::now(), clock::now());
    let end = begun + app.config.budget;
    let mut run = Run { app, now, removed: Removed::default() };
    let mut failures = 0;
    for ((kind, age), left) in KINDS.iter().zip(app.config.ages).zip((1..=KINDS.len() as u32).rev()) {
        let Some(age) = age else { continue };
        // An equal share of the rest of the time: kinds without work leave theirs to the others.
        let until = Instant::now() + end.saturating_duration_since(Instant::now()) / left;
        for data in kind.data {
            let outcome = match *data {
                Data::Months(table) => run.months(table, age, until).await,
                Data::Columns(column) => run.columns(column, age, until).await,
            };
            if let Err(error) = outcome {
                failures += 1;
                let error = common::error::chain(&error);
                tracing::error!(kind = kind.name, error, "could not remove old data");
            }
        }
    }
    if let Err(error) = run.erase(end).await {
        failures += 1;
        let error = common::error::chain(&error);
        tracing::error!(kind = "erased rows", error, "could not remove old data");
    }
    let removed = run.removed;
    telemetry::count(Metric::OldRowsRemoved, usize::try_from(removed.rows).unwrap_or(0));
    telemetry::record(Metric::OldBytesRemoved, removed.bytes as f64);
    telemetry::count(Metric::OldMonthsDropped, removed.months.len());
    if failures > 0 { Err(RemoveError::Kinds(failures)) } else { Ok(removed) }
}

/// One run.
struct Run<'a> {
    app: &'a App,
    now: Timestamp,
    removed: Removed,
}

impl Run<'_> {
    /// Removes the data of erased rows from archives.
    async fn erase(&mut self, until: Instant) -> Result<(), RemoveError> {
        let Some(storage) = &self.app.archive else { return Ok(()) };
        while let Some(rows) = archive::erase(&self.app.db, storage).await? {
            tracing::info!(rows, "removed erased rows from an archive");
            self.removed.erased += rows;
            if Instant::now() >= until {
                self.removed.unfinished = true;
                break;
            }
        }
        Ok(())
    }

    /// Empties columns of old messages.
    async fn columns(&mut self, column: Column, age: Duration, until: Instant) -> Result<(), RemoveError> {
        let db = &self.app.db;
        while Instant::now() < until {
            let step = retention::empty_messages(db, column, self.now - age, BATCH, self.now).await?;
            self.removed.rows += step.rows;
            self.removed.bytes += step.bytes;
            if step.passed == 0 && step.rows == 0 {
                return Ok(());
            }
        }
        self.removed.unfinished = true;
        Ok(())
    }

    /// Drops old months of a table, the oldest first, and deletes old rows of its default partition.
    async fn months(
        &mut self,
        table: &'static str,
        age: Duration,
        until: Instant,
    ) -> Result<(), RemoveError> {
        let before = self.now - age;
        let mut all = partitions::list(&self.app.db).await?;
        all.retain(|partition| partition.table == table);
        for partition in &all {
            match partition.month().map(Month::of) {
                None => self.misplaced(partition, before, until).await?,
                Some(month) if month.end() <= before => self.month(partition, month, until).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Archives and drops a month.
    async fn month(
        &mut self,
        partition: &Partition,
        month: Month,
        until: Instant,
    ) -> Result<(), RemoveError> {
        let Self { app, now, removed } = self;
        let (db, table) = (&app.db, partition.table.as_str());
        if Instant::now() >= until {
            removed.unfinished = true;
            return Ok(());
        }
        let known = archives::find(db, table, month).await?;
        if known.and_then(|archive| archive.keep_until).is_some_and(|until| *now < until) {
            return Ok(());
        }
        if let Some(storage) = &app.archive {
            let archiver = Archiver { db, storage, part_bytes: app.config.part_bytes };
            match archiver.archive(table, &partition.name, month, until).await? {
                Progress::Written(archive) => {
                    archives::complete(db, table, month, &archive, *now).await?;
                    let (rows, bytes) = (archive.row_count, archive.byte_count);
                    tracing::info!(table, %month, rows, bytes, "archived a month");
                }
                Progress::Kept => {}
                Progress::Unfinished => {
                    removed.unfinished = true;
                    return Ok(());
                }
            }
        }
        partitions::drop(db, partition, LockWaits::default()).await?;
        tracing::info!(table, %month, bytes = partition.bytes, "dropped a month");
        removed.bytes += partition.bytes;
        removed.months.push(partition.name.clone());
        Ok(())
    }

    /// Deletes old rows of a default partition.
    async fn misplaced(
        &mut self,
        partition: &Partition,
        before: Timestamp,
        until: Instant,
    ) -> Result<(), RemoveError> {
        while Instant::now() < until {
            let step =
                retention::delete_misplaced(&self.app.db, &partition.name, before, BATCH, self.now).await?;
            self.removed.rows += step.rows;
            self.removed.bytes += step.bytes;
            if step.rows == 0 {
                return Ok(());
            }
        }
        self.removed.unfinished = true;
        Ok(())
    }
}
