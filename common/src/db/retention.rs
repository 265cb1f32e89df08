//! Removing old data in bounded steps.

use super::{Db, DbError, Statement, params, row, statements};
use jiff::Timestamp;

/// How often a step is repeated that did not get its locks within 500 ms.
const ATTEMPTS: usize = 3;

/// Columns of messages that are emptied in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The text and the metadata.
    Bodies,
    /// The references to media.
    Media,
}

impl Column {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bodies => "bodies",
            Self::Media => "media",
        }
    }
}

row! {
    /// What a step did.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Emptied {
        /// Messages that the cursor passed.
        pub passed: i64,
        /// Messages that were emptied.
        pub rows: i64 = "emptied",
        /// The size of what was removed.
        pub bytes: i64 = "emptied_bytes",
    }
}

const EMPTY: Statement<Emptied> = Statement::new(
    "empty old messages",
    "
select passed, emptied, emptied_bytes
from sms_empty_messages(wanted => $wanted, before => sms_first_id($before), max_rows => $limit, present => $now)",
);

/// Empties the next messages from before a time, at most `limit`. Nothing is left if `passed` and `rows` are 0.
///
/// # Errors
///
/// [`DbError`]. The cursor is where it was; the next call repeats the step.
pub async fn empty_messages(
    db: &Db,
    column: Column,
    before: Timestamp,
    limit: i32,
    now: Timestamp,
) -> Result<Emptied, DbError> {
    let wanted = column.as_str();
    let step = async || {
        let rows = db.query_idempotent(&EMPTY, &params! { wanted, before, limit, now }).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    };
    for _ in 1..ATTEMPTS {
        match step().await {
            Err(error) if is_about_a_lock(&error) => {}
            outcome => return outcome,
        }
    }
    step().await
}

fn is_about_a_lock(error: &DbError) -> bool {
    error.is_lock_timeout() || error.is_deadlock()
}

row! {
    /// Rows that were deleted.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Deleted {
        /// Their number.
        pub rows: i64 = "deleted_rows",
        /// Their size.
        pub bytes: i64 = "deleted_bytes",
    }
}

const DELETE: Statement<Deleted> = Statement::new(
    "delete old rows of a default partition",
    "
select deleted_rows, deleted_bytes
from sms_delete_misplaced_rows(relation => $relation, before => $before, present => $now, max_rows => $limit)",
);

/// Deletes rows of a default partition from before a time, at most `limit`.
///
/// # Errors
///
/// [`DbError`]. The next call continues.
pub async fn delete_misplaced(
    db: &Db,
    relation: &str,
    before: Timestamp,
    limit: i32,
    now: Timestamp,
) -> Result<Deleted, DbError> {
    let rows = db.query_idempotent(&DELETE, &params! { relation, before, limit, now }).await?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

statements!(EMPTY, DELETE);
