//! Removes the data of erased rows from archives.

use super::parts::{self, Measure, PartWriter};
use super::write::store_manifest;
use super::{ArchiveError, MANIFEST, MAX_OBJECT, Manifest, ManifestPart, folder};
use crate::db::Db;
use crate::db::archives::{self, Erased, Line, Part};
use crate::domain::month::Month;
use crate::storage::Storage;
use flate2::read::GzDecoder;
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader};
use uuid::Uuid;

/// The column whose content is removed. The other columns have no texts.
const CONTENT: &str = "raw_webhook_data";

/// Removes the data of erased rows from the next part of a complete archive. The rows stay, with an empty object as
/// their raw data, as in the database. Returns the number of rows, or `None` if no archive has erased rows.
///
/// The new part is stored under another name, then recorded in Postgres and in the manifest; then the old object is
/// deleted and the rows are taken from the list. A run that ends before that is repeated by the next one.
///
/// # Errors
///
/// [`ArchiveError`]. The rows stay listed, and are not restored.
pub async fn erase(db: &Db, storage: &Storage) -> Result<Option<usize>, ArchiveError> {
    let Some(Erased { table, month, number, ids }) = archives::erased(db).await? else { return Ok(None) };
    let all = archives::parts(db, &table, month).await?;
    let missing = || ArchiveError::differs(&table, month, format!("has no part {number}"));
    let old = all.iter().find(|part| part.number == number).ok_or_else(missing)?;
    let (body, part) = without(storage, &table, month, old, &ids).await?;
    storage.put(&(folder(&table, month) + &part.name), body, "application/gzip").await?;
    if !archives::replace_part(db, &table, month, &old.name, &part).await? {
        // Another run has replaced it; the rows are still listed if it did not know them.
        return Ok(Some(0));
    }
    renew_manifest(db, storage, &table, month).await?;
    delete_others(storage, &table, month, &part).await?;
    archives::forget_erased(db, &table, &ids).await?;
    Ok(Some(ids.len()))
}

/// Returns a part without the data of rows.
async fn without(
    storage: &Storage,
    table: &str,
    month: Month,
    old: &Part,
    ids: &[Uuid],
) -> Result<(bytes::Bytes, Part), ArchiveError> {
    let differs = |problem: String| ArchiveError::differs(table, month, problem);
    let key = folder(table, month) + &old.name;
    let body = parts::read(storage, &key, MAX_OBJECT).await?;
    let body = body.ok_or_else(|| differs(format!("has no object {}", old.name)))?;
    let mut measure = Measure::new();
    // A part that cannot be decompressed has another hash.
    let _ = measure.add(&body);
    if let Some(problem) = measure.problem(&old.name, old.row_count, old.byte_count, &old.sha256) {
        return Err(differs(problem));
    }
    let mut writer = PartWriter::new();
    for line in BufReader::new(GzDecoder::new(body.as_slice())).lines() {
        let line = emptied(line?, ids).map_err(|problem| differs(format!("{problem} in {}", old.name)))?;
        writer.add(&[line])?;
    }
    let (body, mut part) =
        writer.finish(old.number)?.ok_or_else(|| differs(format!("has no rows in {}", old.name)))?;
    if part.sha256 == old.sha256 {
        part.name.clone_from(&old.name);
    } else {
        let short = part.sha256.get(..8).unwrap_or_default();
        part.name = format!("part-{:05}-{short}.ndjson.gz", old.number);
    }
    Ok((body, part))
}

/// Returns a line, without its content if it is one of the rows.
fn emptied(json: String, ids: &[Uuid]) -> Result<Line, &'static str> {
    /// The key of the archived tables is their first column of these.
    const KEYS: [&str; 2] = ["id", "message_id"];
    let mut row: Map<String, Value> =
        serde_json::from_str(&json).map_err(|_| "has a line that is not JSON")?;
    let key = KEYS.iter().find_map(|key| row.get(*key)?.as_str()?.parse::<Uuid>().ok());
    let id = key.ok_or("has a line without an id")?;
    if !ids.contains(&id) {
        return Ok(Line { id, json });
    }
    if let Some(content) = row.get_mut(CONTENT) {
        *content = Value::Object(Map::new());
    }
    Ok(Line { id, json: Value::Object(row).to_string() })
}

/// Writes the manifest again, with the current parts.
async fn renew_manifest(db: &Db, storage: &Storage, table: &str, month: Month) -> Result<(), ArchiveError> {
    let differs = |problem: String| ArchiveError::differs(table, month, problem);
    let key = folder(table, month) + MANIFEST;
    let body = parts::read(storage, &key, MAX_OBJECT).await?;
    let body = body.ok_or_else(|| differs("has no manifest".to_owned()))?;
    let mut manifest: Manifest = serde_json::from_slice(&body)
        .map_err(|error| differs(format!("has a manifest that cannot be read ({error})")))?;
    manifest.parts = archives::parts(db, table, month).await?.iter().map(ManifestPart::of).collect();
    manifest.bytes = manifest.parts.iter().map(|part| part.bytes).sum();
    let archive = store_manifest(storage, month, &manifest).await?;
    Ok(archives::renew(db, table, month, &archive).await?)
}

/// Deletes the other objects of a part.
async fn delete_others(
    storage: &Storage,
    table: &str,
    month: Month,
    part: &Part,
) -> Result<(), ArchiveError> {
    let folder = folder(table, month);
    let current = format!("{folder}{}", part.name);
    for object in storage.list(&format!("{folder}part-{:05}", part.number)).await?.objects {
        if object.key != current {
            storage.delete(&object.key).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_rows_are_emptied_and_others_stay_byte_by_byte() {
        let id = Uuid::from_u128(7);
        let line = format!(r#"{{"id":"{id}","message_id":"x","raw_webhook_data":{{"Body":"x","n":1.10}}}}"#);
        assert_eq!(emptied(line.clone(), &[]).unwrap(), Line { id, json: line.clone() });
        let empty = emptied(line, &[Uuid::nil(), id]).unwrap().json;
        assert_eq!(empty, format!(r#"{{"id":"{id}","message_id":"x","raw_webhook_data":{{}}}}"#));
        let payload = format!(r#"{{"message_id":"{id}","raw_webhook_data":{{"Body":"x"}}}}"#);
        assert!(!emptied(payload, &[id]).unwrap().json.contains("Body"));
        assert_eq!(emptied("{}".to_owned(), &[id]).unwrap_err(), "has a line without an id");
    }
}
