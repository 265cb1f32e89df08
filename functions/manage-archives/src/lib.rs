//! Lists archived months and restores them. Invoked directly by an operator.
//!
//! | payload | response |
//! |---|---|
//! | `{"action": "list"}` | `{"archives": [{"table", "month", "rows", "bytes", "parts"}]}` |
//! | `{"action": "restore", "table", "month", "from_part"?, "keep_days"?}` | `{"table", "month", "rows", "inserted", "next_part"}` |
//!
//! A restore inserts the rows of a month into its partition, except those that were erased. Rows that exist stay as
//! they are, so it can be repeated. If it does not finish in time, `next_part` has the value of `from_part` for the
//! next invocation. `remove-old-data` keeps the month for `keep_days` (30). An archive that does not match its manifest
//! is not restored.

mod command;

pub use command::Command;

use common::clock;
use common::config::{Configuration, Env};
use common::db::{DatabaseConfig, Db, DbError};
use common::domain::month::Month;
use common::http::ValidationError;
use common::service::archive::{self, ArchiveError, Manifest, RestoreRequest};
use common::storage::{Storage, StorageConfig, StorageError};
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Configuration, read from the environment: [`DatabaseConfig`], [`StorageConfig`], and
///
/// - `ARCHIVE_BUCKET`: the bucket with the archives.
/// - `RESTORE_BUDGET_SECONDS` (600): how long an invocation may start to restore further parts.
#[derive(Debug, Clone)]
pub struct Config {
    database: DatabaseConfig,
    archive: Option<StorageConfig>,
    budget: Duration,
}

impl Configuration for Config {
    fn read(env: &mut Env<'_>) -> Option<Self> {
        let database = DatabaseConfig::from_env(env);
        let archive = StorageConfig::optional(env, "ARCHIVE_BUCKET");
        let budget = env.seconds("RESTORE_BUDGET_SECONDS", 0..=840, 600);
        Some(Self { database: database?, archive: archive?, budget: budget? })
    }
}

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    db: Db,
    archive: Option<Storage>,
    budget: Duration,
}

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub enum ArchivesError {
    /// The payload is invalid.
    #[error("invalid payload: {}", .0.sentences())]
    Invalid(ValidationError),
    /// No bucket is configured.
    #[error("ARCHIVE_BUCKET is not set, so there are no archives")]
    NoBucket,
    /// The archive is missing or damaged, or a service failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The settings of Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The settings of object storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ValidationError> for ArchivesError {
    fn from(error: ValidationError) -> Self {
        Self::Invalid(error)
    }
}

impl App {
    /// Builds the state. It connects on the first invocation.
    ///
    /// # Errors
    ///
    /// [`ArchivesError`] if TLS or an endpoint cannot be configured. The function should not start.
    pub fn init(config: Config) -> Result<Self, ArchivesError> {
        let db = Db::new(&config.database)?;
        let archive = config.archive.as_ref().map(Storage::new).transpose()?;
        Ok(Self { db, archive, budget: config.budget })
    }
}

/// The result of a command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// The archives, by table and month.
    Listed {
        /// The archives.
        archives: Vec<Archive>,
    },
    /// A restored month.
    Restored {
        /// The table.
        table: &'static str,
        /// The month.
        month: String,
        /// The number of rows in the restored parts.
        rows: i64,
        /// How many of them were inserted; the others existed.
        inserted: i64,
        /// Where the next invocation continues. Null: all parts are restored.
        next_part: Option<usize>,
    },
}

/// An archive.
#[derive(Debug, Serialize)]
pub struct Archive {
    table: String,
    month: String,
    rows: i64,
    bytes: i64,
    parts: usize,
}

impl From<Manifest> for Archive {
    fn from(manifest: Manifest) -> Self {
        let Manifest { table, month, rows, bytes, parts, .. } = manifest;
        Self { table, month, rows, bytes, parts: parts.len() }
    }
}

/// Executes the command in a payload.
///
/// # Errors
///
/// [`ArchivesError`]. A failed restore can be repeated.
pub async fn handle(app: &App, payload: Value) -> Result<Response, ArchivesError> {
    let command = Command::from_payload(payload)?;
    let storage = app.archive.as_ref().ok_or(ArchivesError::NoBucket)?;
    match command {
        Command::List => {
            let archives = archive::manifests(storage).await?;
            Ok(Response::Listed { archives: archives.into_iter().map(Archive::from).collect() })
        }
        Command::Restore { table, month, from_part, keep_days } => {
            restore(app, storage, table, month, from_part, keep_days).await
        }
    }
}

async fn restore(
    app: &App,
    storage: &Storage,
    table: &'static str,
    month: Month,
    from_part: usize,
    keep_days: u64,
) -> Result<Response, ArchivesError> {
    let until = Instant::now() + app.budget;
    let keep = SignedDuration::from_hours(24 * i64::try_from(keep_days).unwrap_or(0));
    let request = RestoreRequest { table, month, from_part, keep_until: clock::now() + keep, until };
    let restored = archive::restore(&app.db, storage, &request).await?;
    let (rows, inserted) = (restored.rows, restored.inserted);
    tracing::info!(table, %month, rows, inserted, "operator restored an archived month");
    Ok(Response::Restored { table, month: month.to_string(), rows, inserted, next_part: restored.next_part })
}
