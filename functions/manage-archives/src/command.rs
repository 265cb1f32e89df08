//! The commands of an operator.

use common::db::partitions::TABLES;
use common::domain::month::Month;
use common::http::{Fields, ValidationError};
use serde_json::Value;
use std::ops::RangeInclusive;

/// How long a restored month is kept by default, in days.
const KEEP_DAYS: u64 = 30;

/// A command of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// List all archives.
    List,
    /// Restore a month of a table.
    Restore {
        /// The table.
        table: &'static str,
        /// The month.
        month: Month,
        /// The number of the part to start with.
        from_part: usize,
        /// How long retention keeps the month.
        keep_days: u64,
    },
}

impl Command {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid fields.
    pub fn from_payload(payload: Value) -> Result<Self, ValidationError> {
        let mut fields = Fields::from_value(payload)?;
        let command = match fields.text("action").as_deref() {
            Some("list") => Some(Self::List),
            Some("restore") => restore(&mut fields),
            _ => return Err(ValidationError::field("action", "must be list or restore")),
        };
        fields.finish_with(command)
    }
}

fn restore(fields: &mut Fields) -> Option<Command> {
    let table = fields.required_text("table").and_then(|name| {
        let table = TABLES.into_iter().find(|table| *table == name);
        if table.is_none() {
            fields.problem("table", format!("must be one of {}", TABLES.join(", ")));
        }
        table
    });
    let month = fields.required_text("month").and_then(|text| {
        text.parse::<Month>().map_err(|error| fields.problem("month", error.to_string())).ok()
    });
    let from_part = number(fields, "from_part", 1..=1_000_000, 1);
    let keep_days = number(fields, "keep_days", 1..=3_650, KEEP_DAYS);
    Some(Command::Restore {
        table: table?,
        month: month?,
        from_part: usize::try_from(from_part?).ok()?,
        keep_days: keep_days?,
    })
}

fn number(fields: &mut Fields, name: &'static str, range: RangeInclusive<u64>, default: u64) -> Option<u64> {
    let Some(value) = fields.take(name) else { return Some(default) };
    let number = value.as_u64().filter(|number| range.contains(number));
    if number.is_none() {
        fields.problem(name, format!("must be an integer between {} and {}", range.start(), range.end()));
    }
    number
}
