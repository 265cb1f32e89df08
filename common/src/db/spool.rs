//! The spool: webhooks that SQS did not accept wait here until a schedule moves them to their queue.

use super::types::text_enums;
use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::named::named_enum;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

named_enum! {
    /// The queue of a spooled webhook.
    pub enum SpoolQueue: "the queue of a spooled webhook" {
        /// `[inbound]`.
        Inbound = "inbound",
        /// `[status]`.
        Status = "status",
    }
}

text_enums!(SpoolQueue);

row! {
    /// A spooled webhook.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Spooled {
        /// Its id. Delete it once the message is on its queue.
        pub id: Uuid,
        /// The queue message.
        pub message: Value,
        /// The id of the request.
        pub request_id: String,
        /// When it was spooled.
        pub created_at: Timestamp,
    }
}

const ADD: Statement<()> = Statement::new(
    "spool a webhook",
    "
insert into webhook_spool (id, queue, message, request_id, created_at) values ($id, $queue, $message, $request_id, $now)
on conflict (id) do nothing",
);

/// Stores a webhook that SQS did not accept.
///
/// # Errors
///
/// [`DbError`] when the row may not be stored. The webhook must fail, so that Twilio retries.
pub async fn add(
    db: &Db,
    id: Uuid,
    queue: SpoolQueue,
    message: &Value,
    request_id: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    db.query_idempotent(&ADD, &params! { id, queue, message, request_id, now }).await.map(drop)
}

const OLDEST: Statement<Spooled> = Statement::new(
    "read the spool",
    "
select id, message, request_id, created_at from webhook_spool
where queue = $queue and created_at < $before
  and ($after::timestamptz is null or (created_at, id) > ($after, $after_id))
order by created_at, id limit $limit",
);

/// Returns the oldest webhooks for a queue that are older than `min_age` and follow `after`.
///
/// They stay until [`remove`]. Two concurrent runs queue a webhook twice, which consumers recognize as a duplicate. A
/// run that crashes in between loses nothing.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn oldest(
    db: &Db,
    queue: SpoolQueue,
    now: Timestamp,
    min_age: Duration,
    after: Option<&Spooled>,
    limit: i64,
) -> Result<Vec<Spooled>, DbError> {
    let (after, after_id) = after.map(|last| (last.created_at, last.id)).unzip();
    let params = params! { before: now - min_age, limit, queue, after, after_id };
    db.query_idempotent(&OLDEST, &params).await
}

row! {
    struct Backlog {
        webhooks: i64,
    }
}

const BACKLOG: Statement<Backlog> =
    Statement::new("count the spool", "select count(*) as webhooks from webhook_spool");

/// Returns the number of spooled webhooks.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn backlog(db: &Db) -> Result<i64, DbError> {
    let rows = db.query_idempotent(&BACKLOG, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.webhooks))
}

const MENTIONING: Statement<Spooled> = Statement::new(
    "find spooled webhooks of a number",
    "
select id, message, request_id, created_at from webhook_spool
where exists (select from unnest($texts::text[]) as t (text) where strpos(message ->> 'form', t.text) > 0)
  and ($after::timestamptz is null or (created_at, id) > ($after, $after_id))
order by created_at, id limit $limit",
);

/// Returns the oldest webhooks that follow `after` and contain one of the texts in their encoded form.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn mentioning(
    db: &Db,
    texts: &[String],
    after: Option<&Spooled>,
    limit: i64,
) -> Result<Vec<Spooled>, DbError> {
    let (after, after_id) = after.map(|last| (last.created_at, last.id)).unzip();
    db.query_idempotent(&MENTIONING, &params! { texts, after, after_id, limit }).await
}

const REPLACE: Statement<()> =
    Statement::new("change a spooled webhook", "update webhook_spool set message = $message where id = $id");

/// Changes the message of a spooled webhook, unless it is queued already.
///
/// # Errors
///
/// [`DbError`] when the statement fails.
pub async fn replace(db: &Db, id: Uuid, message: &Value) -> Result<(), DbError> {
    db.query_idempotent(&REPLACE, &params! { id, message }).await.map(drop)
}

const REMOVE: Statement<()> =
    Statement::new("delete spooled webhooks", "delete from webhook_spool where id = any($ids)");

/// Deletes webhooks that are queued.
///
/// # Errors
///
/// [`DbError`]: they are queued again.
pub async fn remove(db: &Db, ids: &[Uuid]) -> Result<(), DbError> {
    db.query_idempotent(&REMOVE, &params! { ids }).await.map(drop)
}

statements!(ADD, OLDEST, BACKLOG, MENTIONING, REPLACE, REMOVE);
