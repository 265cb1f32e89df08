//! Archives in object storage: one month of one table, as compressed lines of JSON with a manifest.
//!
//! | object | content |
//! |---|---|
//! | `archive/{table}/{month}/part-00001.ndjson.gz` | rows in the order of their ids, one JSON object per line |
//! | `archive/{table}/{month}/manifest.json` | [`Manifest`]; it exists only if all parts do |
//!
//! Equal rows give equal objects, so a repeated or concurrent run replaces an object by the same bytes. A part from
//! which erased data was removed has another name: `part-00001-{hash}.ndjson.gz`.

mod erase;
mod parts;
mod restore;
mod write;

pub use erase::erase;
pub use restore::{RestoreRequest, Restored, manifests, restore};
pub use write::{Archiver, Progress};

use crate::db::DbError;
use crate::db::archives::TableColumn;
use crate::domain::month::Month;
use crate::storage::StorageError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The version of the format that this code reads and writes.
const FORMAT: u32 = 1;

/// The name of the description of an archive.
const MANIFEST: &str = "manifest.json";

/// The maximum size of a manifest or a part, which are read into memory.
const MAX_OBJECT: usize = 128 * 1024 * 1024;

/// The prefix of all archives.
const PREFIX: &str = "archive/";

/// The description of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The table.
    pub table: String,
    /// The month of the rows' ids in UTC, such as `2026-10`.
    pub month: String,
    /// The number of rows of all parts.
    pub rows: i64,
    /// The size of all parts in bytes.
    pub bytes: i64,
    /// The columns of the table when it was archived.
    pub columns: Vec<ManifestColumn>,
    /// The SHA-256 of the columns' names and types.
    pub schema: String,
    /// The parts, in the order of their rows.
    pub parts: Vec<ManifestPart>,
}

/// A column of an archived table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestColumn {
    /// Its name.
    pub name: String,
    /// Its Postgres type.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// A part of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPart {
    /// The name of its object, in the folder of the manifest.
    pub name: String,
    /// The number of its rows.
    pub rows: i64,
    /// The size of the object in bytes.
    pub bytes: i64,
    /// The SHA-256 of the object, in hexadecimal digits.
    pub sha256: String,
    /// The id of its first row.
    pub first_id: Uuid,
    /// The id of its last row.
    pub last_id: Uuid,
}

/// An archive could not be written or restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Object storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Compression failed.
    #[error("could not compress or decompress a part of an archive")]
    Compression(#[from] std::io::Error),
    /// The archive is missing.
    #[error("there is no archive of {table} {month}")]
    NotFound {
        /// The table.
        table: String,
        /// The month.
        month: String,
    },
    /// The archive is damaged, or it does not fit the table.
    #[error("the archive of {table} {month} {problem}")]
    Differs {
        /// The table.
        table: String,
        /// The month.
        month: String,
        /// What is different; completes the sentence.
        problem: String,
    },
}

impl ArchiveError {
    fn differs(table: &str, month: impl ToString, problem: impl Into<String>) -> Self {
        Self::Differs { table: table.to_owned(), month: month.to_string(), problem: problem.into() }
    }
}

/// Returns the folder of an archive.
fn folder(table: &str, month: impl std::fmt::Display) -> String {
    format!("{PREFIX}{table}/{month}/")
}

fn part_name(number: i32) -> String {
    format!("part-{number:05}.ndjson.gz")
}

/// Returns the name of a month's partition.
fn partition_name(table: &str, month: Month) -> String {
    let day = month.first_day();
    format!("{table}_{:04}_{:02}", day.year(), day.month())
}

impl ManifestColumn {
    fn of(columns: Vec<TableColumn>) -> Vec<Self> {
        columns.into_iter().map(|TableColumn { name, data_type }| Self { name, data_type }).collect()
    }
}

/// Returns the SHA-256 of the columns' names and types.
fn fingerprint(columns: &[ManifestColumn]) -> String {
    let mut hasher = Sha256::new();
    for ManifestColumn { name, data_type } in columns {
        hasher.update(format!("{name} {data_type}\n"));
    }
    hex::encode(hasher.finalize())
}
