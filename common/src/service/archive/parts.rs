//! Parts of archives: compressed lines in memory, and a check of stored objects.

use super::{ArchiveError, part_name};
use crate::db::archives::{Line, Part};
use crate::storage::{Storage, StorageError};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use uuid::Uuid;

/// A part in progress.
pub(super) struct PartWriter {
    encoder: GzEncoder<Vec<u8>>,
    ids: Option<(Uuid, Uuid)>,
    rows: i64,
}

impl PartWriter {
    pub(super) fn new() -> Self {
        // The header contains no time, so equal rows give equal bytes.
        Self { encoder: GzEncoder::new(Vec::new(), Compression::default()), ids: None, rows: 0 }
    }

    pub(super) fn add(&mut self, lines: &[Line]) -> io::Result<()> {
        for line in lines {
            self.encoder.write_all(line.json.as_bytes())?;
            self.encoder.write_all(b"\n")?;
            self.ids = Some((self.ids.map_or(line.id, |(first, _)| first), line.id));
            self.rows += 1;
        }
        Ok(())
    }

    /// Returns the compressed size so far, without what the encoder buffers.
    pub(super) fn len(&self) -> usize {
        self.encoder.get_ref().len()
    }

    /// Returns the body of the object and its description, or `None` if there are no rows.
    pub(super) fn finish(self, number: i32) -> io::Result<Option<(Bytes, Part)>> {
        let Some((first_id, last_id)) = self.ids else { return Ok(None) };
        let body = self.encoder.finish()?;
        let part = Part {
            number,
            name: part_name(number),
            first_id,
            last_id,
            row_count: self.rows,
            byte_count: i64::try_from(body.len()).unwrap_or(i64::MAX),
            sha256: hex::encode(Sha256::digest(&body)),
            verified_at: None,
        };
        Ok(Some((body.into(), part)))
    }
}

/// The size, hash and number of lines of an object, computed while it is read.
pub(super) struct Measure {
    hasher: Sha256,
    bytes: i64,
    decoder: GzDecoder<LineCounter>,
}

#[derive(Default)]
struct LineCounter(i64);

impl Write for LineCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.iter().map(|byte| i64::from(*byte == b'\n')).sum::<i64>();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Measure {
    pub(super) fn new() -> Self {
        Self { hasher: Sha256::new(), bytes: 0, decoder: GzDecoder::new(LineCounter::default()) }
    }

    pub(super) fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.hasher.update(chunk);
        self.bytes += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        self.decoder.write_all(chunk)
    }

    /// Returns what is different from the expected rows, bytes and hash; completes the sentence "the archive …".
    pub(super) fn problem(self, name: &str, rows: i64, bytes: i64, sha256: &str) -> Option<String> {
        let found = hex::encode(self.hasher.finalize());
        if self.bytes != bytes {
            return Some(format!("has {} bytes instead of {bytes} in {name}", self.bytes));
        }
        if found != sha256 {
            return Some(format!("has another SHA-256 in {name}"));
        }
        match self.decoder.finish() {
            Ok(counter) if counter.0 == rows => None,
            Ok(counter) => Some(format!("has {} rows instead of {rows} in {name}", counter.0)),
            Err(error) => Some(format!("cannot be decompressed in {name} ({error})")),
        }
    }
}

/// Reads a stored part and returns what is different; completes the sentence "the archive …".
pub(super) async fn check(
    storage: &Storage,
    folder: &str,
    expected: &Part,
) -> Result<Option<String>, ArchiveError> {
    let name = &expected.name;
    let Some(mut download) = storage.get(&format!("{folder}{name}")).await? else {
        return Ok(Some(format!("has no object {name}")));
    };
    let mut measure = Measure::new();
    while let Some(chunk) = download.chunk().await? {
        if measure.add(&chunk).is_err() {
            return Ok(Some(format!("cannot be decompressed in {name}")));
        }
    }
    Ok(measure.problem(name, expected.row_count, expected.byte_count, &expected.sha256))
}

/// Reads an object of at most `limit` bytes, or returns `None` if it does not exist.
pub(super) async fn read(
    storage: &Storage,
    key: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(mut download) = storage.get(key).await? else { return Ok(None) };
    let mut body = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            let reason = format!("more than {limit} bytes");
            return Err(StorageError::Unreadable { operation: "read an object", reason });
        }
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lines: &[&str]) -> (Bytes, Part) {
        let mut writer = PartWriter::new();
        let lines: Vec<Line> = (1..)
            .zip(lines)
            .map(|(n, json)| Line { id: Uuid::from_u128(n), json: (*json).to_owned() })
            .collect();
        writer.add(&lines).unwrap();
        writer.finish(1).unwrap().unwrap()
    }

    fn problem(body: &[u8], part: &Part) -> Option<String> {
        let mut measure = Measure::new();
        let _ = measure.add(body);
        measure.problem("part-00001.ndjson.gz", part.row_count, part.byte_count, &part.sha256)
    }

    #[test]
    fn equal_rows_give_equal_bytes_and_no_rows_give_no_part() {
        let (body, described) = part(&[r#"{"id":1}"#, r#"{"id":2}"#]);
        assert_eq!((body.clone(), described.clone()), part(&[r#"{"id":1}"#, r#"{"id":2}"#]));
        assert_eq!((described.row_count, described.last_id), (2, Uuid::from_u128(2)));
        assert_eq!(problem(&body, &described), None);
        assert!(PartWriter::new().finish(1).unwrap().is_none());
    }

    #[test]
    fn a_damaged_shortened_or_other_object_is_described() {
        let (body, described) = part(&["1", "2", "3"]);
        let mut damaged = body.to_vec();
        damaged[12] ^= 1;
        assert_eq!(problem(&damaged, &described).unwrap(), "has another SHA-256 in part-00001.ndjson.gz");
        let short = problem(&body[..10], &described).unwrap();
        assert!(short.starts_with("has 10 bytes instead of "), "{short}");
        let fewer = Part { row_count: 4, ..described };
        assert_eq!(problem(&body, &fewer).unwrap(), "has 3 rows instead of 4 in part-00001.ndjson.gz");
    }
}
