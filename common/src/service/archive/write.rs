//! Writes the archive of a month, in steps that survive a crash.

use super::parts::{self, PartWriter};
use super::{
    ArchiveError, FORMAT, MANIFEST, MAX_OBJECT, Manifest, ManifestColumn, ManifestPart, fingerprint, folder,
};
use crate::clock;
use crate::db::Db;
use crate::db::archives::{self, Completed, Part};
use crate::domain::month::Month;
use crate::storage::Storage;
use sha2::{Digest, Sha256};
use std::time::Instant;
use uuid::Uuid;

/// The maximum number of rows that are read at a time.
const PAGE_ROWS: i32 = 1_000;
/// About the maximum size of the rows that are read at a time.
const PAGE_BYTES: i64 = 1024 * 1024;

/// How far an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is complete and was compared with its partition: record it with [`archives::complete`], then drop the month.
    Written(Completed),
    /// It was complete before, and contains the rows of the restored partition: the month may be dropped again.
    Kept,
    /// The time is over. The next run continues.
    Unfinished,
}

/// Writes archives.
#[derive(Debug)]
pub struct Archiver<'a> {
    /// The database.
    pub db: &'a Db,
    /// The bucket.
    pub storage: &'a Storage,
    /// The compressed size at which a part ends. A part is held in memory.
    pub part_bytes: usize,
}

/// A month of a table.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    table: &'a str,
    partition: &'a str,
    month: Month,
}

impl Archiver<'_> {
    /// Continues the archive of a month until it is complete or the time is over:
    ///
    /// 1. Writes the next parts. `sms_archive_parts` has the position.
    /// 2. Reads each part back and compares size, hash and number of rows.
    /// 3. Compares the number of rows in each part's range of ids with the partition, and looks for rows after the last
    ///    part.
    /// 4. Writes the manifest and reads it back.
    ///
    /// A month that was dropped before, restored, and is to be dropped again keeps its archive. It must contain at
    /// least the rows of the partition.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]: the month must not be dropped. [`ArchiveError::Differs`] if object storage returned something
    /// else than was stored; the part is written again by the next run.
    pub async fn archive(
        &self,
        table: &str,
        partition: &str,
        month: Month,
        until: Instant,
    ) -> Result<Progress, ArchiveError> {
        let source = Source { table, partition, month };
        let is_final = archives::find(self.db, table, month).await?.is_some_and(|a| a.dropped_at.is_some());
        loop {
            if !is_final && !self.write_parts(source, until).await? {
                return Ok(Progress::Unfinished);
            }
            if !self.verify_parts(source, is_final, until).await? {
                return Ok(Progress::Unfinished);
            }
            let parts = archives::parts(self.db, table, month).await?;
            let different = match self.first_difference(source, &parts, is_final).await? {
                None if is_final => return Ok(Progress::Kept),
                None => return self.write_manifest(source, &parts).await.map(Progress::Written),
                Some(_) if is_final => {
                    let problem = "lacks rows of the restored partition";
                    return Err(ArchiveError::differs(table, month, problem));
                }
                Some(different) => different,
            };
            tracing::warn!(table, %month, part = different, "archived rows changed, archiving them again");
            archives::forget_parts(self.db, table, month, different).await?;
        }
    }

    /// Writes parts until all rows are archived. Returns `false` if the time is over.
    async fn write_parts(&self, source: Source<'_>, until: Instant) -> Result<bool, ArchiveError> {
        let last = archives::parts(self.db, source.table, source.month).await?.pop();
        let (mut number, mut after) = last.map_or((1, Uuid::nil()), |part| (part.number + 1, part.last_id));
        loop {
            if Instant::now() >= until {
                return Ok(false);
            }
            let mut writer = PartWriter::new();
            while writer.len() < self.part_bytes {
                let page = archives::page(self.db, source.partition, after, PAGE_ROWS, PAGE_BYTES).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                writer.add(&page)?;
            }
            let Some((body, part)) = writer.finish(number)? else { return Ok(true) };
            let key = folder(source.table, source.month) + &part.name;
            self.storage.put(&key, body, "application/gzip").await?;
            archives::add_part(self.db, source.table, source.month, &part).await?;
            number += 1;
        }
    }

    /// Reads back the parts that were not verified yet. Returns `false` if the time is over.
    async fn verify_parts(
        &self,
        source: Source<'_>,
        is_final: bool,
        until: Instant,
    ) -> Result<bool, ArchiveError> {
        let Source { table, month, .. } = source;
        let parts = archives::parts(self.db, table, month).await?;
        for part in parts.iter().filter(|part| part.verified_at.is_none()) {
            if Instant::now() >= until {
                return Ok(false);
            }
            if let Some(problem) = parts::check(self.storage, &folder(table, month), part).await? {
                if !is_final {
                    archives::forget_parts(self.db, table, month, part.number).await?;
                }
                return Err(ArchiveError::differs(table, month, problem));
            }
            archives::verified(self.db, table, month, part.number, clock::now()).await?;
        }
        Ok(true)
    }

    /// Returns the first part whose rows in the partition are others than when it was written, by their number. An
    /// archive that is final may have more rows than the partition.
    async fn first_difference(
        &self,
        source: Source<'_>,
        parts: &[Part],
        is_final: bool,
    ) -> Result<Option<i32>, ArchiveError> {
        let mut after = Uuid::nil();
        for part in parts {
            let rows = archives::count(self.db, source.partition, after, part.last_id).await?;
            if rows > part.row_count || rows < part.row_count && !is_final {
                return Ok(Some(part.number));
            }
            after = part.last_id;
        }
        let later = archives::count(self.db, source.partition, after, Uuid::max()).await?;
        let next = parts.last().map_or(1, |part| part.number + 1);
        Ok((later > 0).then_some(next))
    }

    /// Writes the manifest and reads it back.
    async fn write_manifest(&self, source: Source<'_>, parts: &[Part]) -> Result<Completed, ArchiveError> {
        let Source { table, month, .. } = source;
        let columns = ManifestColumn::of(archives::columns(self.db, table).await?);
        let manifest = Manifest {
            format: FORMAT,
            table: table.to_owned(),
            month: month.to_string(),
            rows: parts.iter().map(|part| part.row_count).sum(),
            bytes: parts.iter().map(|part| part.byte_count).sum(),
            schema: fingerprint(&columns),
            columns,
            parts: parts.iter().map(ManifestPart::of).collect(),
        };
        store_manifest(self.storage, month, &manifest).await
    }
}

/// Writes a manifest and reads it back.
pub(super) async fn store_manifest(
    storage: &Storage,
    month: Month,
    manifest: &Manifest,
) -> Result<Completed, ArchiveError> {
    let key = folder(&manifest.table, month) + MANIFEST;
    let body = serde_json::to_vec_pretty(manifest).map_err(std::io::Error::from)?;
    storage.put(&key, body.clone().into(), "application/json").await?;
    if parts::read(storage, &key, MAX_OBJECT).await?.as_ref() != Some(&body) {
        return Err(ArchiveError::differs(&manifest.table, month, "has another manifest than was stored"));
    }
    let (row_count, byte_count) = (manifest.rows, manifest.bytes);
    Ok(Completed { row_count, byte_count, sha256: hex::encode(Sha256::digest(&body)) })
}

impl ManifestPart {
    pub(super) fn of(part: &Part) -> Self {
        Self {
            name: part.name.clone(),
            rows: part.row_count,
            bytes: part.byte_count,
            sha256: part.sha256.clone(),
            first_id: part.first_id,
            last_id: part.last_id,
        }
    }
}
