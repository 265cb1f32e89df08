//! Data for the reconciliation with Twilio, and its cursors.

use super::types::text_enums;
use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::ids::MessageId;
use crate::domain::message::Status;
use crate::domain::named::named_enum;
use crate::domain::sids::MessageSid;
use jiff::Timestamp;
use serde_json::Value;

/// A period whose messages are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The start.
    pub since: Timestamp,
    /// The end.
    pub until: Timestamp,
}

named_enum! {
    /// A part of the reconciliation with its own windows.
    pub enum Part: "a part of the reconciliation" {
        /// Twilio's list, page by page.
        List = "list",
        /// The messages that Twilio has not sent yet, one by one.
        Unsent = "unsent",
    }
}

text_enums!(Part);

/// The cursor of a part in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The part.
    pub part: Part,
    /// The window.
    pub window: Window,
    /// For the list, the URL of the next page. For unsent messages, the id of the last fetched one. `None` at the
    /// start.
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

row! {
    struct Unfinished {
        since: Timestamp,
        until: Timestamp,
        position: Option<String>,
        failures: i32,
    }
}

const UNFINISHED: Statement<Unfinished> = Statement::new(
    "find an unfinished reconciliation",
    "
select since, until, position, failures from twilio_reconciliation_cursors
where part = $part and updated_at < $before order by updated_at limit 1",
);

/// Returns the oldest cursor that was saved before a time.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn unfinished(db: &Db, part: Part, before: Timestamp) -> Result<Option<Cursor>, DbError> {
    let rows = db.query_idempotent(&UNFINISHED, &params! { part, before }).await?;
    Ok(rows.into_iter().next().map(|row| Cursor {
        part,
        window: Window { since: row.since, until: row.until },
        position: row.position,
        failures: row.failures,
    }))
}

const SAVE: Statement<()> = Statement::new(
    "save a reconciliation cursor",
    "
insert into twilio_reconciliation_cursors (since, until, part, position, failures, updated_at)
values ($since, $until, $part, $position, $failures, $now)
on conflict (since, until, part) do update
set position = excluded.position, failures = excluded.failures, updated_at = excluded.updated_at",
);

/// Saves a cursor.
///
/// # Errors
///
/// [`DbError`]: the part continues at the last saved cursor.
pub async fn save(db: &Db, cursor: &Cursor, now: Timestamp) -> Result<(), DbError> {
    let Cursor { part, window: Window { since, until }, position, failures } = cursor;
    let params = params! { since, until, part, position, failures, now };
    db.query_idempotent(&SAVE, &params).await.map(drop)
}

const FINISHED: Statement<()> = Statement::new(
    "delete a reconciliation cursor",
    "delete from twilio_reconciliation_cursors where since = $since and until = $until and part = $part",
);

/// Deletes the cursor of a completed or abandoned window.
///
/// # Errors
///
/// [`DbError`]: the window is processed again, which is harmless.
pub async fn finished(db: &Db, cursor: &Cursor) -> Result<(), DbError> {
    let Cursor { part, window: Window { since, until }, .. } = cursor;
    db.query_idempotent(&FINISHED, &params! { since, until, part }).await.map(drop)
}

row! {
    /// An outbound message without a final status.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OnItsWay {
        /// The message SID.
        pub twilio_sid: MessageSid,
        /// Its status.
        pub delivery_status: Status,
    }
}

const ON_THEIR_WAY: Statement<OnItsWay> = Statement::new(
    "find messages without a final status",
    "
select m.twilio_sid, m.delivery_status from unnest($sids::text[]) as t (sid)
join sms_message_sids s on s.packed_sid = sms_pack_sid(t.sid)
join sms_messages m on m.id = s.message_id
where m.twilio_sid = t.sid and m.direction = 'outbound' and m.delivery_status in ('queued', 'sending', 'sent')",
);

/// Returns the outbound messages of these SIDs that have no final status.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn on_their_way(db: &Db, sids: &[&MessageSid]) -> Result<Vec<OnItsWay>, DbError> {
    db.query_idempotent(&ON_THEIR_WAY, &params! { sids }).await
}

row! {
    /// A message that Twilio has not sent yet, as far as we know.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NotSentYet {
        /// Its id.
        pub id: MessageId,
        /// The message SID.
        pub twilio_sid: MessageSid,
    }
}

const NOT_SENT_YET: Statement<NotSentYet> = Statement::new(
    "find unsent messages",
    "
select m.id, m.twilio_sid from sms_messages m
where m.direction = 'outbound' and m.delivery_status in ('queued', 'sending') and m.twilio_sid is not null
  and m.created_at >= $since and m.created_at < $until and ($after::uuid is null or m.id > $after)
order by m.id limit $limit",
);

/// Returns messages that Twilio has not sent yet, as far as we know. Its list by send time lacks them.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn not_sent_yet(
    db: &Db,
    window: Window,
    after: Option<MessageId>,
    limit: i64,
) -> Result<Vec<NotSentYet>, DbError> {
    let Window { since, until } = window;
    db.query_idempotent(&NOT_SENT_YET, &params! { since, until, after, limit }).await
}

const AWAIT_MEDIA: Statement<()> = Statement::new(
    "store messages whose media are missing",
    "
insert into twilio_awaiting_media (twilio_sid, message)
select * from unnest($twilio_sids::text[], $messages::text[]::json[]) on conflict do nothing",
);

/// Stores Twilio's Message resources of inbound messages until their media are listed.
///
/// # Errors
///
/// [`DbError`]: none of them is stored.
pub async fn await_media(db: &Db, messages: &[(&MessageSid, &Value)]) -> Result<(), DbError> {
    let params = params! {
        twilio_sids: messages.iter().map(|(sid, _)| *sid).collect::<Vec<_>>(),
        // As text, because `json` keeps it unchanged.
        messages: messages.iter().map(|(_, message)| message.to_string()).collect::<Vec<_>>(),
    };
    db.query_idempotent(&AWAIT_MEDIA, &params).await.map(drop)
}

row! {
    /// An inbound message whose media are not listed yet.
    #[derive(Clone, PartialEq)]
    pub struct AwaitingMedia {
        /// Twilio's message SID.
        pub twilio_sid: MessageSid,
        /// Twilio's Message resource.
        pub message: Value,
        /// How often listing its media has failed.
        pub tries: i32,
    }
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
const TAKE_AWAITING_MEDIA: Statement<AwaitingMedia> = Statement::new(
    "claim messages whose media are missing",
    "
update twilio_awaiting_media a set tries = a.tries + 1, tried_at = $now
where a.twilio_sid in (select t.twilio_sid from twilio_awaiting_media t
                       where t.tried_at is null or t.tried_at < $before
                       order by t.tried_at nulls first, t.twilio_sid limit $limit
                       for update skip locked)
returning a.twilio_sid, a.message, a.tries",
);

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
    db.query_idempotent(&TAKE_AWAITING_MEDIA, &params! { before, now, limit }).await
}

/// The sender is compared in the text, because Postgres cannot read JSON with NUL characters.
const AWAITING_MEDIA_FROM: Statement<AwaitingMedia> = Statement::new(
    "find messages of a number whose media are missing",
    "
select a.twilio_sid, a.message, a.tries from twilio_awaiting_media a
where exists (select from unnest($numbers::text[]) as n (number)
              where strpos(a.message::text, '\"from\":' || to_json(n.number)::text) > 0)",
);

/// Returns the messages from a number, in any of these spellings, that wait for their media.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn awaiting_media_from(db: &Db, numbers: &[&str]) -> Result<Vec<AwaitingMedia>, DbError> {
    db.query_idempotent(&AWAITING_MEDIA_FROM, &params! { numbers }).await
}

const MEDIA_SETTLED: Statement<()> = Statement::new(
    "delete messages whose media are missing",
    "delete from twilio_awaiting_media where twilio_sid = any($twilio_sids)",
);

/// Deletes messages that are stored or can never be.
///
/// # Errors
///
/// [`DbError`]: their media are listed again, which is harmless.
pub async fn media_settled(db: &Db, twilio_sids: &[&MessageSid]) -> Result<(), DbError> {
    db.query_idempotent(&MEDIA_SETTLED, &params! { twilio_sids }).await.map(drop)
}

statements!(
    UNFINISHED,
    SAVE,
    FINISHED,
    ON_THEIR_WAY,
    NOT_SENT_YET,
    AWAIT_MEDIA,
    TAKE_AWAITING_MEDIA,
    AWAITING_MEDIA_FROM,
    MEDIA_SETTLED
);
