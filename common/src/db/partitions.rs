//! The monthly partitions of tables that grow with each message.
//!
//! Rows find their partition by UUIDv7 id. A row without a partition, such as one with the id of a wrong clock, goes to
//! the default partition and moves when its month gets a partition.

use super::{Db, DbError, LockWaits, Statement, params, row, statements};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The partitioned tables.
pub const TABLES: [&str; 4] =
    ["sms_message_payloads", "sms_message_status_events", "sms_events", "sms_delivery_attempts"];

/// How many months are created ahead, unless configured otherwise.
pub const MONTHS_AHEAD: u32 = 3;

row! {
    /// A partition of one of the [`TABLES`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Partition {
        /// The partitioned table.
        pub table: String,
        /// The name of the partition.
        pub name: String,
        /// Its month as `2026_11`, or `None` for the default partition.
        suffix: Option<String>,
        /// Its size on disk, with indexes.
        pub bytes: i64,
    }
}

impl Partition {
    /// Returns the first day of its month, or `None` for the default partition.
    #[must_use]
    pub fn month(&self) -> Option<Date> {
        let (year, month) = self.suffix.as_deref()?.split_once('_')?;
        Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()
    }
}

const LIST: Statement<Partition> = Statement::new(
    "list partitions",
    "
select i.inhparent::regclass::text as table, c.relname::text as name, pg_total_relation_size(c.oid) as bytes,
    substring(c.relname from '_([0-9]{4}_[0-9]{2})$') as suffix
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = any($tables::text[]::regclass[])
order by c.relname",
);

/// Lists the partitions of all tables by name.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn list(db: &Db) -> Result<Vec<Partition>, DbError> {
    db.query_idempotent(&LIST, &params! { tables: TABLES.to_vec() }).await
}

/// Creates the missing partitions of the previous month, this month and `months_ahead` more. Returns their names.
///
/// Each is created in its own transaction, with a `lock_timeout` and retries, because writers wait for the locks.
///
/// # Errors
///
/// [`DbError`]: the next call creates the rest.
pub async fn ensure(
    db: &Db,
    now: Timestamp,
    months_ahead: u32,
    waits: LockWaits,
) -> Result<Vec<String>, DbError> {
    let existing = list(db).await?;
    let mut created = Vec::new();
    for months in -1..=i64::from(months_ahead) {
        let month = month_of(now).saturating_add(months.months());
        for table in TABLES {
            let name = format!("{table}_{:04}_{:02}", month.year(), month.month());
            if existing.iter().all(|partition| partition.name != name) {
                add(db, table, month, waits).await?;
                created.push(name);
            }
        }
    }
    Ok(created)
}

/// Creates the partition of a month of one of the [`TABLES`], unless it exists.
///
/// # Errors
///
/// [`DbError`]: nothing is created.
pub async fn add(db: &Db, table: &str, month: Date, waits: LockWaits) -> Result<(), DbError> {
    let add = format!("select sms_add_partition('{table}', '{month}')");
    waits.transaction(db, "create a partition", &add).await
}

/// Drops a partition with its rows.
///
/// # Errors
///
/// [`DbError`]: nothing is dropped.
pub async fn drop(db: &Db, partition: &Partition, waits: LockWaits) -> Result<(), DbError> {
    // Names come from the catalog.
    waits.transaction(db, "drop a partition", &format!("drop table \"{}\"", partition.name)).await
}

/// Returns the tables that lack a partition for this month or the next.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn missing(db: &Db, now: Timestamp) -> Result<Vec<String>, DbError> {
    let existing = list(db).await?;
    let lacks = |table: &str| ready_of(&existing, table, now).is_none_or(|months| months == 0);
    Ok(TABLES.into_iter().filter(|table| lacks(table)).map(str::to_owned).collect())
}

/// Returns for how many future months without a gap every table has a partition.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn ready(db: &Db, now: Timestamp) -> Result<u32, DbError> {
    let existing = list(db).await?;
    Ok(TABLES.into_iter().map(|table| ready_of(&existing, table, now).unwrap_or(0)).min().unwrap_or(0))
}

/// Returns how many months after this one have a partition, or `None` if this month has none.
fn ready_of(existing: &[Partition], table: &str, now: Timestamp) -> Option<u32> {
    let has = |month: Date| existing.iter().any(|p| p.table == table && p.month() == Some(month));
    let this_month = month_of(now);
    let months = (0..=120_i64).take_while(|months| has(this_month.saturating_add(months.months()))).count();
    u32::try_from(months).ok()?.checked_sub(1)
}

/// Returns the first day of the month in UTC.
fn month_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date().first_of_month()
}

row! {
    struct Rows {
        rows: i64,
    }
}

const IN_DEFAULT: Statement<Rows> = Statement::new(
    "count rows without a partition",
    "
select (select count(*) from sms_message_payloads_default) + (select count(*) from sms_message_status_events_default)
    + (select count(*) from sms_events_default) + (select count(*) from sms_delivery_attempts_default) as rows",
);

/// Returns the number of rows in default partitions.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn rows_in_default(db: &Db) -> Result<i64, DbError> {
    Ok(db.query_idempotent(&IN_DEFAULT, &[]).await?.first().map_or(0, |row| row.rows))
}

statements!(LIST, IN_DEFAULT);
