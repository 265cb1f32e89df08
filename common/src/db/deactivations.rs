//! Numbers that their carriers have deactivated, and the days whose lists were read.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::{DeactivationSource, EventData, NumberDeactivated};
use crate::domain::phone::E164;
use crate::domain::sids::AccountSid;
use jiff::Timestamp;
use jiff::civil::Date;

row! {
    struct ReadDay {
        day: Date,
    }
}

const READ_DAYS: Statement<ReadDay> = Statement::new(
    "find the days whose lists were read",
    "select d.day from sms_deactivation_days d where d.day >= $first",
);

/// Returns the days from a first one on whose lists were read to their end.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn read_days(db: &Db, first: Date) -> Result<Vec<Date>, DbError> {
    let rows = db.query_idempotent(&READ_DAYS, &params! { first }).await?;
    Ok(rows.into_iter().map(|row| row.day).collect())
}

row! {
    struct Marked {
        marked: i64,
    }
}

/// Its rules are described in `migrations/functions/sms_deactivate_numbers.sql`.
const MARK: Statement<Marked> = Statement::new(
    "mark deactivated numbers",
    "
select sms_deactivate_numbers(account => $account_sid, numbers => $numbers, day => $day, event_type => $event_type,
    event_data => $event_data, at => $now) as marked",
);

/// Marks the conversations of numbers that Twilio lists as deactivated on a day, with an event each. Returns how many
/// were not marked before.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn mark(
    db: &Db,
    account_sid: &AccountSid,
    day: Date,
    numbers: &[E164],
    now: Timestamp,
) -> Result<i64, DbError> {
    let params = params! {
        account_sid,
        numbers,
        day,
        event_type: NumberDeactivated::TYPE,
        event_data: NumberDeactivated { source: DeactivationSource::Twilio }.json(),
        now,
    };
    let rows = db.query_idempotent(&MARK, &params).await?;
    Ok(rows.first().map_or(0, |row| row.marked))
}

/// What was read of the list of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListRead {
    /// Its numbers.
    pub numbers: i64,
    /// The conversations that were marked.
    pub marked: i64,
}

const FINISH: Statement<()> = Statement::new(
    "record that the list of a day was read",
    "
insert into sms_deactivation_days (day, numbers, marked, read_at) values ($day, $numbers, $marked, $now)
on conflict (day) do nothing",
);

/// Records that the list of a day was read to its end. A concurrent run may have done so.
///
/// # Errors
///
/// [`DbError`]: the next run reads the list again, which is harmless.
pub async fn finish(db: &Db, day: Date, read: ListRead, now: Timestamp) -> Result<(), DbError> {
    let ListRead { numbers, marked } = read;
    db.query_idempotent(&FINISH, &params! { day, numbers, marked, now }).await.map(drop)
}

statements!(READ_DAYS, MARK, FINISH);
