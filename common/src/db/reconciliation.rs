//! What a reconciliation with Twilio compares its lists with, and where it goes on when it ran out of time.

use super::{Db, DbError, Row, Type};
use jiff::Timestamp;

/// A span of time whose messages are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From here on.
    pub since: Timestamp,
    /// Up to here.
    pub until: Timestamp,
}

/// A window that an earlier run did not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The window.
    pub window: Window,
    /// Twilio's address of the next page.
    pub next_page: String,
}

pub(crate) const UNFINISHED: &str =
    "select since, until, next_page from twilio_reconciliations order by updated_at limit 1";

/// Returns the window that has waited longest to be gone on with.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn unfinished(db: &Db) -> Result<Option<Unfinished>, DbError> {
    let rows = db.query_idempotent("look for an unfinished reconciliation", UNFINISHED, &[]).await?;
    Ok(rows.first().map(|row| Unfinished {
        window: Window { since: row.get(0), until: row.get(1) },
        next_page: row.get(2),
    }))
}

pub(crate) const SAVE: &str = "
insert into twilio_reconciliations (since, until, next_page, updated_at) values ($1, $2, $3, $4)
on conflict (since, until) do update set next_page = excluded.next_page, updated_at = excluded.updated_at";

/// Notes where a window is to be gone on with.
///
/// # Errors
///
/// [`DbError`]: a later window has its messages too, as windows overlap.
pub async fn save(db: &Db, unfinished: &Unfinished, now: Timestamp) -> Result<(), DbError> {
    let params = [
        (&unfinished.window.since as _, Type::TIMESTAMPTZ),
        (&unfinished.window.until as _, Type::TIMESTAMPTZ),
        (&unfinished.next_page as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    db.query_idempotent("note how far a reconciliation came", SAVE, &params).await.map(drop)
}

pub(crate) const FINISHED: &str = "delete from twilio_reconciliations where since = $1 and until = $2";

/// Forgets a window that was gone through, or can't be gone on with.
///
/// # Errors
///
/// [`DbError`]: it is gone through once more, which does no harm.
pub async fn finished(db: &Db, window: Window) -> Result<(), DbError> {
    let params = [(&window.since as _, Type::TIMESTAMPTZ), (&window.until as _, Type::TIMESTAMPTZ)];
    db.query_idempotent("forget a reconciliation", FINISHED, &params).await.map(drop)
}

pub(crate) const ON_THEIR_WAY: &str = "
select m.twilio_sid, m.delivery_status from sms_messages m
where m.twilio_sid = any($1) and m.direction = 'outbound' and m.delivery_status in ('queued', 'sending', 'sent')";

/// Returns those of Twilio's ids that are outbound messages which have not ended, each with its status.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn on_their_way(db: &Db, sids: &[&str]) -> Result<Vec<(String, String)>, DbError> {
    let rows =
        db.query_idempotent("find messages on their way", ON_THEIR_WAY, &[(&sids, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row: &Row| (row.get(0), row.get(1))).collect())
}

pub(crate) const NOT_SENT_YET: &str = "
select m.twilio_sid from sms_messages m
where m.direction = 'outbound' and m.delivery_status in ('queued', 'sending') and m.twilio_sid is not null
  and m.created_at >= $1 and m.created_at < $2
order by m.created_at limit $3";

/// Returns Twilio's ids of messages which, as far as we know, Twilio has not sent yet: its list by time of sending
/// leaves them out.
///
/// # Errors
///
/// [`DbError`] when Postgres can't be read.
pub async fn not_sent_yet(db: &Db, window: Window, limit: i64) -> Result<Vec<String>, DbError> {
    let params = [
        (&window.since as _, Type::TIMESTAMPTZ),
        (&window.until as _, Type::TIMESTAMPTZ),
        (&limit as _, Type::INT8),
    ];
    let rows = db.query_idempotent("find messages not sent yet", NOT_SENT_YET, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
