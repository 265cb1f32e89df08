//! Archives of old months: their rows as lines of JSON, and how far each archive is.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::month::Month;
use jiff::Timestamp;
use uuid::Uuid;

row! {
    /// A row of an archived table.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Line {
        /// Its id.
        pub id: Uuid = "row_id",
        /// The row as JSON, in one line.
        pub json: String = "line",
    }
}

const PAGE: Statement<Line> = Statement::new(
    "read rows to archive",
    "
select row_id, line from sms_archive_page(
    relation => $relation, after => $after, max_rows => $max_rows, max_bytes => $max_bytes)",
);

/// Returns the next rows of a partition after an id: at most `max_rows`, and about `max_bytes`.
///
/// # Errors
///
/// [`DbError`].
pub async fn page(
    db: &Db,
    relation: &str,
    after: Uuid,
    max_rows: i32,
    max_bytes: i64,
) -> Result<Vec<Line>, DbError> {
    db.query_idempotent(&PAGE, &params! { relation, after, max_rows, max_bytes }).await
}

row! {
    struct Count {
        row_count: i64,
    }
}

const COUNT: Statement<Count> = Statement::new(
    "count rows of a partition",
    "select sms_count_rows(relation => $relation, after => $after, until => $until) as row_count",
);

/// Counts the rows of a partition with an id after one and up to another.
///
/// # Errors
///
/// [`DbError`].
pub async fn count(db: &Db, relation: &str, after: Uuid, until: Uuid) -> Result<i64, DbError> {
    let rows = db.query_idempotent(&COUNT, &params! { relation, after, until }).await?;
    Ok(rows.first().map_or(0, |row| row.row_count))
}

row! {
    /// A column of a table.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TableColumn {
        /// Its name.
        pub name: String,
        /// Its Postgres type.
        pub data_type: String,
    }
}

const COLUMNS: Statement<TableColumn> = Statement::new(
    "read the columns of a table",
    "
select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as data_type
from pg_attribute a
where a.attrelid = to_regclass($relation) and a.attnum > 0 and not a.attisdropped
order by a.attnum",
);

/// Returns the columns of a table, in their order.
///
/// # Errors
///
/// [`DbError`].
pub async fn columns(db: &Db, relation: &str) -> Result<Vec<TableColumn>, DbError> {
    db.query_idempotent(&COLUMNS, &params! { relation }).await
}

row! {
    struct Restored {
        restored: i64,
    }
}

const RESTORE: Statement<Restored> = Statement::new(
    "restore archived rows",
    "
select sms_restore_rows(parent => $table, relation => $relation, columns => $columns, lines => $lines) as restored",
);

/// Inserts archived rows into a partition and returns how many were new.
///
/// # Errors
///
/// [`DbError`]. None of the rows was inserted.
pub async fn restore(
    db: &Db,
    table: &str,
    relation: &str,
    columns: &[String],
    lines: &[String],
) -> Result<i64, DbError> {
    let rows = db.query_idempotent(&RESTORE, &params! { table, relation, columns, lines }).await?;
    Ok(rows.first().map_or(0, |row| row.restored))
}

row! {
    /// A part of an archive that was stored.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Part {
        /// Its number, from 1.
        pub number: i32,
        /// The name of its object.
        pub name: String,
        /// The id of its first row.
        pub first_id: Uuid,
        /// The id of its last row.
        pub last_id: Uuid,
        /// The number of its rows.
        pub row_count: i64,
        /// Its compressed size.
        pub byte_count: i64,
        /// The SHA-256 of its object, in hexadecimal digits.
        pub sha256: String,
        /// When the object was read back and compared.
        pub verified_at: Option<Timestamp>,
    }
}

const PARTS: Statement<Part> = Statement::new(
    "read the parts of an archive",
    "
select number, name, first_id, last_id, row_count, byte_count, sha256, verified_at from sms_archive_parts
where archived_table = $table and month = $month order by number",
);

/// Returns the stored parts of an archive, in their order.
///
/// # Errors
///
/// [`DbError`].
pub async fn parts(db: &Db, table: &str, month: Month) -> Result<Vec<Part>, DbError> {
    db.query_idempotent(&PARTS, &params! { table, month }).await
}

const ADD_PART: Statement<()> = Statement::new(
    "record a part of an archive",
    "
insert into sms_archive_parts
    (archived_table, month, number, name, first_id, last_id, row_count, byte_count, sha256, verified_at)
values ($table, $month, $number, $name, $first_id, $last_id, $row_count, $byte_count, $sha256, $verified_at)
on conflict (archived_table, month, number) do nothing",
);

/// Records a part whose object is stored. The next run continues after it.
///
/// # Errors
///
/// [`DbError`]: the part is written again.
pub async fn add_part(db: &Db, table: &str, month: Month, part: &Part) -> Result<(), DbError> {
    let Part { number, name, first_id, last_id, row_count, byte_count, sha256, verified_at } = part;
    let params =
        params! { table, month, number, name, first_id, last_id, row_count, byte_count, sha256, verified_at };
    db.query_idempotent(&ADD_PART, &params).await.map(drop)
}

const VERIFIED: Statement<()> = Statement::new(
    "record that a part of an archive was verified",
    "
update sms_archive_parts set verified_at = $now
where archived_table = $table and month = $month and number = $number",
);

/// Records that the object of a part was read back and is equal.
///
/// # Errors
///
/// [`DbError`]: the part is verified again.
pub async fn verified(
    db: &Db,
    table: &str,
    month: Month,
    number: i32,
    now: Timestamp,
) -> Result<(), DbError> {
    db.query_idempotent(&VERIFIED, &params! { table, month, number, now }).await.map(drop)
}

const FORGET_PARTS: Statement<()> = Statement::new(
    "discard parts of an archive",
    "delete from sms_archive_parts where archived_table = $table and month = $month and number >= $number",
);

/// Discards a part and all after it. They are written again.
///
/// # Errors
///
/// [`DbError`].
pub async fn forget_parts(db: &Db, table: &str, month: Month, number: i32) -> Result<(), DbError> {
    db.query_idempotent(&FORGET_PARTS, &params! { table, month, number }).await.map(drop)
}

row! {
    /// A complete archive.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Archive {
        /// The SHA-256 of its manifest, in hexadecimal digits.
        pub sha256: String,
        /// When its month was dropped for the first time.
        pub dropped_at: Option<Timestamp>,
        /// A restored month is not dropped before.
        pub keep_until: Option<Timestamp>,
    }
}

const FIND: Statement<Archive> = Statement::new(
    "find an archive",
    "select sha256, dropped_at, keep_until from sms_archives where archived_table = $table and month = $month",
);

/// Returns a complete archive, if there is one.
///
/// # Errors
///
/// [`DbError`].
pub async fn find(db: &Db, table: &str, month: Month) -> Result<Option<Archive>, DbError> {
    Ok(db.query_idempotent(&FIND, &params! { table, month }).await?.pop())
}

/// A complete archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The number of its rows.
    pub row_count: i64,
    /// The compressed size of its parts.
    pub byte_count: i64,
    /// The SHA-256 of its manifest, in hexadecimal digits.
    pub sha256: String,
}

const COMPLETE: Statement<()> = Statement::new(
    "record an archive",
    "
insert into sms_archives (archived_table, month, row_count, byte_count, sha256, archived_at, dropped_at)
values ($table, $month, $row_count, $byte_count, $sha256, $now, $now)
on conflict (archived_table, month) do nothing",
);

/// Records that an archive is complete and that its month is about to be dropped. An archive that was complete before
/// stays as it is.
///
/// # Errors
///
/// [`DbError`]: the month must not be dropped.
pub async fn complete(
    db: &Db,
    table: &str,
    month: Month,
    archive: &Completed,
    now: Timestamp,
) -> Result<(), DbError> {
    let Completed { row_count, byte_count, sha256 } = archive;
    db.query_idempotent(&COMPLETE, &params! { table, month, row_count, byte_count, sha256, now })
        .await
        .map(drop)
}

const KEEP: Statement<()> = Statement::new(
    "record that an archive is restored",
    "
with forgotten as (
    update sms_archive_parts set verified_at = null where archived_table = $table and month = $month
)
insert into sms_archives
    (archived_table, month, row_count, byte_count, sha256, archived_at, dropped_at, keep_until)
values ($table, $month, $row_count, $byte_count, $sha256, $now, $now, $until)
on conflict (archived_table, month) do update set keep_until = excluded.keep_until",
);

/// Records that a month is being restored, so that retention keeps it until a time. Then its parts are verified again.
///
/// # Errors
///
/// [`DbError`]: nothing may be restored.
pub async fn keep(
    db: &Db,
    table: &str,
    month: Month,
    archive: &Completed,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), DbError> {
    let Completed { row_count, byte_count, sha256 } = archive;
    let params = params! { table, month, row_count, byte_count, sha256, until, now };
    db.query_idempotent(&KEEP, &params).await.map(drop)
}

row! {
    /// Rows of an archive that were erased.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Erased {
        /// The table.
        pub table: String = "archived_table",
        /// The month.
        pub month: Month,
        /// The number of the part with the rows.
        pub number: i32 = "part_number",
        /// The ids of the rows. Some may not be in the part.
        pub ids: Vec<Uuid>,
    }
}

const ERASED: Statement<Erased> = Statement::new(
    "find erased rows of archives",
    "
select p.archived_table, p.month, p.number as part_number, array_agg(e.row_id order by e.row_id) as ids
from sms_erased_archive_rows e
join sms_archive_parts p on p.archived_table = e.table_name and e.row_id between p.first_id and p.last_id
join sms_archives a on a.archived_table = p.archived_table and a.month = p.month and a.dropped_at is not null
group by p.archived_table, p.month, p.number
order by p.archived_table, p.month, p.number
limit 1",
);

/// Returns the next part of a complete archive with rows that were erased, if there is one.
///
/// # Errors
///
/// [`DbError`].
pub async fn erased(db: &Db) -> Result<Option<Erased>, DbError> {
    Ok(db.query_idempotent(&ERASED, &[]).await?.pop())
}

const REPLACE_PART: Statement<Count> = Statement::new(
    "record that a part of an archive was written without erased data",
    "
with replaced as (
    update sms_archive_parts
    set name = $name, byte_count = $byte_count, sha256 = $sha256, verified_at = null
    where archived_table = $table and month = $month and number = $number and name in ($old_name, $name)
    returning number
)
select count(*) as row_count from replaced",
);

/// Replaces a part by one without the data of erased rows. Returns `false` if another run has replaced it.
///
/// # Errors
///
/// [`DbError`].
pub async fn replace_part(
    db: &Db,
    table: &str,
    month: Month,
    old_name: &str,
    part: &Part,
) -> Result<bool, DbError> {
    let Part { number, name, byte_count, sha256, .. } = part;
    let params = params! { table, month, number, name, old_name, byte_count, sha256 };
    let rows = db.query_idempotent(&REPLACE_PART, &params).await?;
    Ok(rows.first().is_some_and(|row| row.row_count > 0))
}

const RENEW: Statement<()> = Statement::new(
    "record a new manifest of an archive",
    "
update sms_archives set byte_count = $byte_count, sha256 = $sha256
where archived_table = $table and month = $month",
);

/// Records the manifest of an archive after a part was replaced.
///
/// # Errors
///
/// [`DbError`]: the archive cannot be restored until this is repeated.
pub async fn renew(db: &Db, table: &str, month: Month, archive: &Completed) -> Result<(), DbError> {
    let Completed { byte_count, sha256, .. } = archive;
    db.query_idempotent(&RENEW, &params! { table, month, byte_count, sha256 }).await.map(drop)
}

const FORGET_ERASED: Statement<()> = Statement::new(
    "record that erased rows were removed from an archive",
    "delete from sms_erased_archive_rows where table_name = $table and row_id = any($ids)",
);

/// Records that an archive no longer contains the data of erased rows.
///
/// # Errors
///
/// [`DbError`]: the removal is repeated.
pub async fn forget_erased(db: &Db, table: &str, ids: &[Uuid]) -> Result<(), DbError> {
    db.query_idempotent(&FORGET_ERASED, &params! { table, ids }).await.map(drop)
}

statements!(
    ADD_PART,
    COLUMNS,
    COMPLETE,
    COUNT,
    ERASED,
    FIND,
    FORGET_ERASED,
    FORGET_PARTS,
    KEEP,
    PAGE,
    PARTS,
    RENEW,
    REPLACE_PART,
    RESTORE,
    VERIFIED,
);
