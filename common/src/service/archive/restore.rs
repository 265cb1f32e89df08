//! Lists archives and restores them.

use super::parts::{self, Measure};
use super::{
    ArchiveError, FORMAT, MANIFEST, MAX_OBJECT, Manifest, ManifestPart, PREFIX, fingerprint, folder,
    partition_name,
};
use crate::clock;
use crate::db::archives::{self, Completed, Part};
use crate::db::{Db, LockWaits, partitions};
use crate::domain::month::Month;
use crate::storage::Storage;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader};
use std::time::Instant;

/// The maximum number of rows of one statement, and about their maximum size.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 1024 * 1024;

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Rows that were inserted.
    pub inserted: i64,
    /// Rows of the restored parts, including those that existed.
    pub rows: i64,
    /// Where to continue, if the time was over.
    pub next_part: Option<usize>,
}

/// Returns the manifests of all archives, by table and month.
///
/// # Errors
///
/// [`ArchiveError`].
pub async fn manifests(storage: &Storage) -> Result<Vec<Manifest>, ArchiveError> {
    let mut found = Vec::new();
    for table in storage.list(PREFIX).await?.folders {
        for folder in storage.list(&table).await?.folders {
            let body = parts::read(storage, &format!("{folder}{MANIFEST}"), MAX_OBJECT).await?;
            // An archive in progress has no manifest.
            found.extend(body.and_then(|body| serde_json::from_slice::<Manifest>(&body).ok()));
        }
    }
    Ok(found)
}

/// Returns the manifest of an archive with its SHA-256, after checking it against itself, the table and the database's
/// record of the archive.
///
/// # Errors
///
/// [`ArchiveError::NotFound`], or [`ArchiveError::Differs`] with what does not match.
async fn manifest(
    db: &Db,
    storage: &Storage,
    table: &str,
    month: Month,
) -> Result<(Manifest, String), ArchiveError> {
    let key = folder(table, month) + MANIFEST;
    let not_found = || ArchiveError::NotFound { table: table.to_owned(), month: month.to_string() };
    let body = parts::read(storage, &key, MAX_OBJECT).await?.ok_or_else(not_found)?;
    let sha256 = hex::encode(Sha256::digest(&body));
    let differs = |problem: String| ArchiveError::differs(table, month, problem);
    let manifest: Manifest = serde_json::from_slice(&body)
        .map_err(|error| differs(format!("has a manifest that cannot be read ({error})")))?;
    let recorded = archives::find(db, table, month).await?;
    if recorded.is_some_and(|archive| archive.sha256 != sha256) {
        return Err(differs("has another manifest than was stored".to_owned()));
    }
    let current = archives::columns(db, table).await?;
    match problem(&manifest, table, month, &current) {
        Some(problem) => Err(differs(problem)),
        None => Ok((manifest, sha256)),
    }
}

fn problem(
    manifest: &Manifest,
    table: &str,
    month: Month,
    current: &[archives::TableColumn],
) -> Option<String> {
    if manifest.format != FORMAT {
        return Some(format!("has format {}, not {FORMAT}", manifest.format));
    }
    if (manifest.table.as_str(), manifest.month.clone()) != (table, month.to_string()) {
        return Some(format!("has a manifest of {} {}", manifest.table, manifest.month));
    }
    if fingerprint(&manifest.columns) != manifest.schema {
        return Some("has columns that do not match their fingerprint".to_owned());
    }
    let (rows, bytes) = (|part: &ManifestPart| part.rows, |part: &ManifestPart| part.bytes);
    if manifest.parts.iter().map(rows).sum::<i64>() != manifest.rows
        || manifest.parts.iter().map(bytes).sum::<i64>() != manifest.bytes
    {
        return Some("has parts that do not add up".to_owned());
    }
    let missing = manifest.columns.iter().find(|column| {
        !current.iter().any(|now| now.name == column.name && now.data_type == column.data_type)
    });
    missing.map(|column| {
        format!("has a column {} of type {}, which the table does not have", column.name, column.data_type)
    })
}

/// A restore of an archive.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The table.
    pub table: &'a str,
    /// The month.
    pub month: Month,
    /// The number of the first part, from 1.
    pub from_part: usize,
    /// How long retention keeps the month.
    pub keep_until: Timestamp,
    /// When no further part is begun. At least one is restored.
    pub until: Instant,
}

/// Inserts the rows of an archive into their partition. Rows that exist stay as they are, so a repetition is safe. Each
/// part is compared with the manifest before its rows are inserted. Erased rows are left out.
///
/// # Errors
///
/// [`ArchiveError`]. Parts before the failed one are restored.
pub async fn restore(
    db: &Db,
    storage: &Storage,
    request: &RestoreRequest<'_>,
) -> Result<Restored, ArchiveError> {
    let RestoreRequest { table, month, from_part, keep_until, until } = *request;
    let (manifest, sha256) = manifest(db, storage, table, month).await?;
    let archive = Completed { row_count: manifest.rows, byte_count: manifest.bytes, sha256 };
    archives::keep(db, table, month, &archive, keep_until, clock::now()).await?;
    partitions::add(db, table, month.first_day(), LockWaits::default()).await?;
    let mut restored = Restored { inserted: 0, rows: 0, next_part: None };
    for (number, part) in (1_usize..).zip(&manifest.parts).skip(from_part.saturating_sub(1)) {
        if number > from_part && Instant::now() >= until {
            restored.next_part = Some(number);
            break;
        }
        restored.inserted += restore_part(db, storage, &manifest, month, part).await?;
        restored.rows += part.rows;
        archives::add_part(db, table, month, &recorded(number, part)).await?;
    }
    Ok(restored)
}

fn recorded(number: usize, part: &ManifestPart) -> Part {
    Part {
        number: i32::try_from(number).unwrap_or(i32::MAX),
        name: part.name.clone(),
        first_id: part.first_id,
        last_id: part.last_id,
        row_count: part.rows,
        byte_count: part.bytes,
        sha256: part.sha256.clone(),
        verified_at: None,
    }
}

async fn restore_part(
    db: &Db,
    storage: &Storage,
    manifest: &Manifest,
    month: Month,
    part: &ManifestPart,
) -> Result<i64, ArchiveError> {
    let table = manifest.table.as_str();
    let key = folder(table, month) + &part.name;
    let differs = |problem: String| ArchiveError::differs(table, month, problem);
    let body = parts::read(storage, &key, MAX_OBJECT).await?;
    let body = body.ok_or_else(|| differs(format!("has no object {}", part.name)))?;
    let mut measure = Measure::new();
    // A part that cannot be decompressed has another hash.
    let _ = measure.add(&body);
    if let Some(problem) = measure.problem(&part.name, part.rows, part.bytes, &part.sha256) {
        return Err(differs(problem));
    }
    let columns: Vec<String> = manifest.columns.iter().map(|column| column.name.clone()).collect();
    let partition = partition_name(table, month);
    let (mut inserted, mut batch, mut bytes) = (0, Vec::new(), 0);
    for line in BufReader::new(GzDecoder::new(body.as_slice())).lines() {
        let line = line?;
        bytes += line.len();
        batch.push(line);
        if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            inserted += archives::restore(db, table, &partition, &columns, &batch).await?;
            batch.clear();
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        inserted += archives::restore(db, table, &partition, &columns, &batch).await?;
    }
    Ok(inserted)
}
