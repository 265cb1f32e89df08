//! The spool: webhooks that SQS did not accept wait here until a schedule moves them to their queue.

use super::{Db, DbError, Json, Type};
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// The queue of a spooled webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolQueue {
    /// `[inbound]`.
    Inbound,
    /// `[status]`.
    Status,
}

impl SpoolQueue {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Status => "status",
        }
    }
}

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

const ADD: &str = "
insert into webhook_spool (id, queue, message, request_id, created_at) values ($1, $2, $3, $4, $5)
on conflict (id) do nothing";

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
    db.query_idempotent(
        "spool a webhook",
        ADD,
        &[
            (&id, Type::UUID),
            (&queue.as_str(), Type::TEXT),
            (&Json(message), Type::JSONB),
            (&request_id, Type::TEXT),
            (&now, Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(drop)
}

const OLDEST: &str = "
select id, message, request_id, created_at from webhook_spool
where queue = $3 and created_at < $1 and ($4::timestamptz is null or (created_at, id) > ($4, $5))
order by created_at, id limit $2";

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
    let before = now - min_age;
    let (after, after_id) = after.map(|last| (last.created_at, last.id)).unzip();
    let params = [
        (&before as _, Type::TIMESTAMPTZ),
        (&limit as _, Type::INT8),
        (&queue.as_str() as _, Type::TEXT),
        (&after as _, Type::TIMESTAMPTZ),
        (&after_id as _, Type::UUID),
    ];
    let rows = db.query_idempotent("read the spool", OLDEST, &params).await?;
    let spooled = |row: &super::Row| Spooled {
        id: row.get(0),
        message: row.get(1),
        request_id: row.get(2),
        created_at: row.get(3),
    };
    Ok(rows.iter().map(spooled).collect())
}

const BACKLOG: &str = "select count(*) from webhook_spool";

/// Returns the number of spooled webhooks.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn backlog(db: &Db) -> Result<i64, DbError> {
    let rows = db.query_idempotent("count the spool", BACKLOG, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

const REMOVE: &str = "delete from webhook_spool where id = any($1)";

/// Deletes webhooks that are queued.
///
/// # Errors
///
/// [`DbError`]: they are queued again.
pub async fn remove(db: &Db, ids: &[Uuid]) -> Result<(), DbError> {
    db.query_idempotent("empty the spool", REMOVE, &[(&ids, Type::UUID_ARRAY)]).await.map(drop)
}
