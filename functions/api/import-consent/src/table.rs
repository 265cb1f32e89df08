//! Reads the rows of a CSV document (RFC 4180).

use crate::request::{Entry, MAX_ROWS, too_many};
use common::http::{Fields, ValidationError};
use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

/// The columns that every document has.
const REQUIRED: [&str; 4] = ["phone_number", "action", "source", "evidence"];
/// The column that it may have. An empty field is the default.
const OPTIONAL: &str = "scope";
/// How many unknown columns an error lists, so that its size is limited.
const MAX_UNKNOWN: usize = 20;

/// Returns the fields of each row after the header. Empty lines are not counted.
///
/// # Errors
///
/// [`ValidationError`] when the document is not CSV in UTF-8, has another header, or has too many rows.
pub(crate) fn entries(body: &[u8]) -> Result<Vec<Entry>, ValidationError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| document(format!("is not UTF-8 at byte {}", error.valid_up_to() + 1)))?;
    // Excel writes a BOM.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The reader accepts everything, and would read the rest of the document as one field.
    if text.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        return Err(document("has a double quote without its counterpart"));
    }
    // A row with another number of fields is an error of that row.
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let columns = columns(reader.headers().map_err(unreadable)?)?;
    let mut entries = Vec::new();
    for record in reader.records() {
        if entries.len() == MAX_ROWS {
            return Err(too_many());
        }
        entries.push(entry(&columns, &record.map_err(unreadable)?));
    }
    Ok(entries)
}

/// Returns the columns in the order of the header.
fn columns(header: &StringRecord) -> Result<Vec<&'static str>, ValidationError> {
    if header.is_empty() {
        return Err(document("has no header line"));
    }
    let mut problems = ValidationError::default();
    let mut columns = Vec::with_capacity(REQUIRED.len() + 1);
    let mut unknown = Vec::new();
    for name in header.iter().map(str::trim) {
        match REQUIRED.into_iter().chain([OPTIONAL]).find(|column| *column == name) {
            Some(column) if columns.contains(&column) => {
                problems.add_once(column, "is given more than once in the header");
            }
            Some(column) => columns.push(column),
            None => unknown.push(name),
        }
    }
    for name in unknown.into_iter().take(MAX_UNKNOWN) {
        problems.add(name, "is not a column of this request");
    }
    for column in REQUIRED.into_iter().filter(|column| !columns.contains(column)) {
        problems.add(column, "is not in the header");
    }
    problems.check()?;
    Ok(columns)
}

fn entry(columns: &[&'static str], record: &StringRecord) -> Entry {
    if record.len() != columns.len() {
        let reason = format!("has {} columns; the header has {}", record.len(), columns.len());
        return Err(ValidationError::field("row", reason));
    }
    let mut fields = Map::new();
    for (name, value) in columns.iter().zip(record.iter()) {
        if *name != OPTIONAL || !value.is_empty() {
            fields.insert((*name).to_owned(), value.into());
        }
    }
    Fields::from_value(Value::Object(fields))
}

/// The error for a document that cannot be read.
fn document(reason: impl Into<String>) -> ValidationError {
    ValidationError::field("request body", reason)
}

fn unreadable(_: csv::Error) -> ValidationError {
    document("is not CSV")
}
