//! Files of inbound messages, which `store-media` copies to object storage.
//!
//! `next_attempt_at` is when there is something to do for a file. A worker [claims](claim) what is due, and what it
//! does not finish is due again when its claim ends.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::{EventData, EventType, MediaStored};
use crate::domain::ids::{ConversationId, MediaId, MessageId};
use crate::domain::media::{FileType, MediaStatus};
use jiff::Timestamp;
use std::time::Duration;

/// How long a worker has a file. Longer than the timeout of its function, so that two workers never have the same
/// file, and shorter than the two minutes after which `sms_erase_media` lets objects be deleted.
pub const LEASE: Duration = Duration::from_secs(100);

row! {
    /// A claimed file.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ClaimedFile {
        /// Its id.
        pub id: MediaId,
        /// Its message.
        pub message_id: MessageId,
        /// Where Twilio has it; empty if it is erased.
        pub url: String,
        /// Its status. A pending file is to be copied, a stored one to be deleted at Twilio.
        pub status: MediaStatus,
        /// Whether it is erased: its object is to be deleted.
        pub is_erased: bool,
        /// The number of attempts at the present task, with this one.
        pub attempts: i32,
        /// When the webhook was received.
        pub created_at: Timestamp,
    }
}

const CLAIM: Statement<ClaimedFile> = Statement::new(
    "claim files",
    "
with due as (
    select f.id from unnest($messages::uuid[]) as m (id) join sms_media f on f.message_id = m.id
    where f.next_attempt_at <= $now
    for no key update of f skip locked
)
update sms_media f set attempts = f.attempts + 1, next_attempt_at = $lease_end
from due where f.id = due.id
returning f.id, f.message_id, f.url, f.status, f.erased_at is not null as is_erased, f.attempts, f.created_at",
);

/// Claims the due files of messages for [`LEASE`].
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn claim(db: &Db, messages: &[MessageId], now: Timestamp) -> Result<Vec<ClaimedFile>, DbError> {
    let lease_end = now + LEASE;
    db.query_idempotent(&CLAIM, &params! { messages, now, lease_end }).await
}

row! {
    struct Stored {
        is_stored: bool,
    }
}

/// Its rules are described in `migrations/functions/sms_store_media.sql`.
const STORE: Statement<Stored> = Statement::new(
    "mark a file as stored",
    "
select sms_store_media(file_id => $id, file_type => $content_type, bytes => $size, hash => $sha256,
    next_attempt => $delete_at, event_type => $event_type, event_data => $event_data, at => $now) as is_stored",
);

/// A file whose object was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredFile<'a> {
    /// Its id.
    pub id: MediaId,
    /// Its type.
    pub file_type: FileType,
    /// Its size in bytes.
    pub size: i32,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: &'a str,
    /// When it is deleted at Twilio, if it is.
    pub delete_at: Option<Timestamp>,
}

/// Marks a file as stored, with its event. Returns false if its content was erased meanwhile: delete the object.
///
/// # Errors
///
/// [`DbError`]: the file is pending or stored. The next attempt writes the object again.
pub async fn store(db: &Db, file: &StoredFile<'_>, now: Timestamp) -> Result<bool, DbError> {
    let StoredFile { id, file_type, size, sha256, delete_at } = *file;
    let content_type = file_type.content_type;
    let event =
        MediaStored { media_id: id, content_type: content_type.to_owned(), size, sha256: sha256.to_owned() };
    let params = params! {
        id,
        content_type,
        size,
        sha256,
        delete_at,
        event_type: EventType::MediaStored,
        event_data: event.json(),
        now,
    };
    let rows = db.query_idempotent(&STORE, &params).await?;
    Ok(rows.first().is_some_and(|row| row.is_stored))
}

const END_ATTEMPT: Statement<()> = Statement::new(
    "end an attempt at a file",
    "
update sms_media f
set status = case when f.status = 'pending' and $next::timestamptz is null then 'failed' else f.status end,
    error = $error, next_attempt_at = $next
where f.id = $id and f.erased_at is null",
);

/// Ends an attempt. Without a next one, a pending file fails, and a stored one stays stored.
///
/// # Errors
///
/// [`DbError`]: the file is due again when the claim ends.
pub async fn end_attempt(
    db: &Db,
    id: MediaId,
    error: Option<&str>,
    next: Option<Timestamp>,
) -> Result<(), DbError> {
    db.query_idempotent(&END_ATTEMPT, &params! { id, error, next }).await?;
    Ok(())
}

const REMOVE: Statement<()> = Statement::new(
    "remove an erased file",
    "delete from sms_media f where f.id = $id and f.erased_at is not null",
);

/// Removes an erased file after its object was deleted.
///
/// # Errors
///
/// [`DbError`]: the object is deleted again when the claim ends.
pub async fn remove(db: &Db, id: MediaId) -> Result<(), DbError> {
    db.query_idempotent(&REMOVE, &params! { id }).await?;
    Ok(())
}

row! {
    /// A message with due files.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DueMessage {
        /// The message.
        pub message_id: MessageId,
        /// Its conversation.
        pub conversation_id: ConversationId,
    }
}

const DUE: Statement<DueMessage> = Statement::new(
    "find messages with due files",
    "
select distinct f.message_id, m.conversation_id
from (select d.message_id from sms_media d where d.next_attempt_at <= $now order by d.next_attempt_at limit $limit) f
join sms_messages m on m.id = f.message_id",
);

/// Returns the messages of the files that have been due for the longest time, at most `limit` files.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn due(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<DueMessage>, DbError> {
    db.query_idempotent(&DUE, &params! { now, limit }).await
}

row! {
    /// A file for the API.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FoundFile {
        /// Its status.
        pub status: MediaStatus,
        /// The type of its bytes, once it is stored.
        pub content_type: Option<String>,
    }
}

const FIND: Statement<FoundFile> = Statement::new(
    "find a file",
    "select f.status, f.detected_type as content_type from sms_media f where f.id = $id and f.erased_at is null",
);

/// Returns a file, unless its content is erased.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find(db: &Db, id: MediaId) -> Result<Option<FoundFile>, DbError> {
    Ok(db.query_idempotent(&FIND, &params! { id }).await?.into_iter().next())
}

statements!(CLAIM, STORE, END_ATTEMPT, REMOVE, DUE, FIND);
