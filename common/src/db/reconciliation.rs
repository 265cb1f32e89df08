//! Data for the reconciliation with Twilio, and its cursors.

use super::{Db, DbError, Json, Row, Type};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// A period whose messages are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The start.
    pub since: Timestamp,
    /// The end.
    pub until: Timestamp,
}

/// A part of the reconciliation with its own windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Twilio's list, page by page.
    List,
    /// The messages that Twilio has not sent yet, one by one.
    Unsent,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Unsent => "unsent",
        }
    }
}

/// The cursor of a part in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The part.
    pub part: Part,
    /// The window.
    pub window: Window,
    /// For the list, the URL of the next page. For unsent messages, the id of the last fetched one. `None` at the start.
    pub position: Option<String>,
    /// How often the next request has failed.
    pub failures: i32,
}

impl Cursor {
    /// Returns the cursor at the start of a window.
    #[must_use]
    pub fn start(part: Part, window: Window) -> Self {
        Self { part, window, position: None, failures: 0 }
    }
}

pub(crate) const UNFINISHED: &str = "
select since, until, position, failures from twilio_reconciliation_cursors
where part = $1 and updated_at < $2 order by updated_at limit 1";

/// Returns the oldest cursor that was saved before a time.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn unfinished(db: &Db, part: Part, before: Timestamp) -> Result<Option<Cursor>, DbError> {
    let params = [(&part.as_str() as _, Type::TEXT), (&before as _, Type::TIMESTAMPTZ)];
    let rows = db.query_idempotent("look for an unfinished reconciliation", UNFINISHED, &params).await?;
    Ok(rows.first().map(|row| Cursor {
        part,
        window: Window { since: row.get(0), until: row.get(1) },
        position: row.get(2),
        failures: row.get(3),
    }))
}

pub(crate) const SAVE: &str = "
insert into twilio_reconciliation_cursors (since, until, part, position, failures, updated_at)
values ($1, $2, $3, $4, $5, $6)
on conflict (since, until, part) do update
set position = excluded.position, failures = excluded.failures, updated_at = excluded.updated_at";

/// Saves a cursor.
///
/// # Errors
///
/// [`DbError`]: the part continues at the last saved cursor.
pub async fn save(db: &Db, cursor: &Cursor, now: Timestamp) -> Result<(), DbError> {
    let params = [
        (&cursor.window.since as _, Type::TIMESTAMPTZ),
        (&cursor.window.until as _, Type::TIMESTAMPTZ),
        (&cursor.part.as_str() as _, Type::TEXT),
        (&cursor.position as _, Type::TEXT),
        (&cursor.failures as _, Type::INT4),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    db.query_idempotent("save how far a reconciliation came", SAVE, &params).await.map(drop)
}

pub(crate) const FINISHED: &str =
    "delete from twilio_reconciliation_cursors where since = $1 and until = $2 and part = $3";

/// Deletes the cursor of a completed or abandoned window.
///
/// # Errors
///
/// [`DbError`]: the window is processed again, which is harmless.
pub async fn finished(db: &Db, cursor: &Cursor) -> Result<(), DbError> {
    let params = [
        (&cursor.window.since as _, Type::TIMESTAMPTZ),
        (&cursor.window.until as _, Type::TIMESTAMPTZ),
        (&cursor.part.as_str() as _, Type::TEXT),
    ];
    db.query_idempotent("end a reconciliation", FINISHED, &params).await.map(drop)
}

pub(crate) const ON_THEIR_WAY: &str = "
select m.twilio_sid, m.delivery_status from sms_messages m
where m.twilio_sid = any($1) and m.direction = 'outbound' and m.delivery_status in ('queued', 'sending', 'sent')";

/// Returns those SIDs that are outbound messages without a final status, with their statuses.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn on_their_way(db: &Db, sids: &[&str]) -> Result<Vec<(String, String)>, DbError> {
    let rows =
        db.query_idempotent("find messages on their way", ON_THEIR_WAY, &[(&sids, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row: &Row| (row.get(0), row.get(1))).collect())
}

pub(crate) const NOT_SENT_YET: &str = "
select m.id, m.twilio_sid from sms_messages m
where m.direction = 'outbound' and m.delivery_status in ('queued', 'sending') and m.twilio_sid is not null
  and m.created_at >= $1 and m.created_at < $2 and ($3::uuid is null or m.id > $3)
order by m.id limit $4";

/// Returns ids and SIDs of messages that Twilio has not sent yet, as far as we know. Its list by send time lacks them.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn not_sent_yet(
    db: &Db,
    window: Window,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<(Uuid, String)>, DbError> {
    let params = [
        (&window.since as _, Type::TIMESTAMPTZ),
        (&window.until as _, Type::TIMESTAMPTZ),
        (&after as _, Type::UUID),
        (&limit as _, Type::INT8),
    ];
    let rows = db.query_idempotent("find messages not sent yet", NOT_SENT_YET, &params).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(crate) const AWAIT_MEDIA: &str = "
insert into twilio_awaiting_media (twilio_sid, message)
select * from unnest($1::text[], $2::json[]) on conflict do nothing";

/// Stores Twilio's Message resources of inbound messages until their media are listed.
///
/// # Errors
///
/// [`DbError`]: none of them is stored.
pub async fn await_media(db: &Db, messages: &[(&str, &Value)]) -> Result<(), DbError> {
    let (sids, messages): (Vec<&str>, Vec<_>) =
        messages.iter().map(|(sid, message)| (*sid, Json(*message))).unzip();
    let params = [(&sids as _, Type::TEXT_ARRAY), (&messages as _, Type::JSON_ARRAY)];
    db.query_idempotent("keep messages with media", AWAIT_MEDIA, &params).await.map(drop)
}

/// An inbound message whose media are not listed yet.
#[derive(Clone, PartialEq)]
pub struct AwaitingMedia {
    /// Twilio's message SID.
    pub twilio_sid: String,
    /// Twilio's Message resource.
    pub message: Value,
    /// How often listing its media has failed.
    pub tries: i32,
}

/// Contains no phone number and no text.
impl std::fmt::Debug for AwaitingMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwaitingMedia")
            .field("twilio_sid", &self.twilio_sid)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

/// The attempt is counted before it is made, so that a message that ends a run does not come first again.
pub(crate) const TAKE_AWAITING_MEDIA: &str = "
update twilio_awaiting_media a set tries = a.tries + 1, tried_at = $2
where a.twilio_sid in (select t.twilio_sid from twilio_awaiting_media t
                       where t.tried_at is null or t.tried_at < $1
                       order by t.tried_at nulls first, t.twilio_sid limit $3
                       for update skip locked)
returning a.twilio_sid, a.message, a.tries";

/// Returns messages whose media must be listed and were not attempted since a time, and counts the attempt.
///
/// # Errors
///
/// [`DbError`] when the statement fails.
pub async fn take_awaiting_media(
    db: &Db,
    before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<AwaitingMedia>, DbError> {
    let params =
        [(&before as _, Type::TIMESTAMPTZ), (&now as _, Type::TIMESTAMPTZ), (&limit as _, Type::INT8)];
    let rows = db.query_idempotent("take messages with media", TAKE_AWAITING_MEDIA, &params).await?;
    let awaiting =
        |row: &Row| AwaitingMedia { twilio_sid: row.get(0), message: row.get(1), tries: row.get(2) };
    Ok(rows.iter().map(awaiting).collect())
}

pub(crate) const MEDIA_SETTLED: &str = "delete from twilio_awaiting_media where twilio_sid = any($1)";

/// Deletes messages that are stored or can never be.
///
/// # Errors
///
/// [`DbError`]: their media are listed again, which is harmless.
pub async fn media_settled(db: &Db, twilio_sids: &[&str]) -> Result<(), DbError> {
    let params = [(&twilio_sids as _, Type::TEXT_ARRAY)];
    db.query_idempotent("forget messages with media", MEDIA_SETTLED, &params).await.map(drop)
}
