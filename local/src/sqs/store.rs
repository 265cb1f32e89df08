//! Stores the queues in SQLite, so that messages survive a restart of the stack.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::{Value, json};

use super::SqsError;
use super::attributes::attribute;
use super::message::Attributes;
use crate::clock;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    -- No fsync per message: messages survive a crash of the stack, but not of the machine.
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS queues (
        name TEXT PRIMARY KEY, attributes TEXT NOT NULL, created_ms INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL REFERENCES queues ON DELETE CASCADE,
        id TEXT NOT NULL, body TEXT NOT NULL, attributes TEXT NOT NULL, trace TEXT,
        sent_ms INTEGER NOT NULL, visible_ms INTEGER NOT NULL,
        receives INTEGER NOT NULL DEFAULT 0, first_receive_ms INTEGER, receipt TEXT, came_from TEXT,
        message_group TEXT
    );
    CREATE INDEX IF NOT EXISTS messages_by_visibility ON messages (queue, visible_ms, seq);
    CREATE INDEX IF NOT EXISTS messages_by_receipt ON messages (receipt);
    CREATE INDEX IF NOT EXISTS messages_by_group ON messages (queue, message_group, visible_ms);
    PRAGMA foreign_keys = ON;
";

/// How many of the oldest visible messages a receive compares. A group with a longer backlog delays others, as in SQS
/// until it notices the busy group.
const COMPARED: i64 = 5000;

/// Queue attributes by their SQS names.
pub(super) type QueueAttributes = BTreeMap<String, String>;

/// A message to store.
#[derive(Debug)]
pub(super) struct NewMessage<'a> {
    pub id: &'a str,
    pub body: &'a str,
    pub attributes: &'a Attributes,
    pub trace: Option<&'a str>,
    pub group: Option<&'a str>,
    pub delay_ms: i64,
}

/// A received message.
#[derive(Debug)]
pub(super) struct Received {
    pub id: String,
    pub body: String,
    pub attributes: Attributes,
    pub trace: Option<String>,
    pub group: Option<String>,
    pub sent_ms: i64,
    pub first_receive_ms: i64,
    pub receives: i64,
    pub receipt: String,
    pub came_from: Option<String>,
}

/// Returns the name of the dead-letter queue and the maximum receive count.
pub(super) fn redrive(attributes: &QueueAttributes) -> Option<(String, i64)> {
    let policy: Value = serde_json::from_str(attributes.get("RedrivePolicy")?).ok()?;
    let name = policy.get("deadLetterTargetArn")?.as_str()?.rsplit(':').next()?.to_owned();
    // Clients write the count as a number or as a string.
    let count = policy.get("maxReceiveCount")?;
    Some((name, count.as_i64().or_else(|| count.as_str()?.parse().ok())?))
}

/// The queue store. Each method is one short transaction.
#[derive(Debug)]
pub(super) struct Store(Connection);

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        // Files of earlier builds lack the column. The statement fails if there is no table yet, or the column exists.
        let _ = connection.execute("ALTER TABLE messages ADD COLUMN message_group TEXT", []);
        connection.execute_batch(SCHEMA)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self(connection))
    }

    pub(super) fn queues(&self) -> Result<Vec<String>, SqsError> {
        let mut statement = self.0.prepare_cached("SELECT name FROM queues ORDER BY name")?;
        let names = statement.query_map([], |row| row.get("name"))?.collect::<Result<_, _>>()?;
        Ok(names)
    }

    pub(super) fn attributes(&self, queue: &str) -> Result<(QueueAttributes, i64), SqsError> {
        let mut statement =
            self.0.prepare_cached("SELECT attributes, created_ms FROM queues WHERE name = ?")?;
        let read = |row: &Row<'_>| Ok((row.get::<_, String>("attributes")?, row.get("created_ms")?));
        let found = statement.query_row([queue], read).optional()?;
        let (attributes, created) = found.ok_or(SqsError::QueueDoesNotExist)?;
        Ok((serde_json::from_str(&attributes).unwrap_or_default(), created))
    }

    pub(super) fn put_queue(&self, queue: &str, attributes: &QueueAttributes) -> Result<(), SqsError> {
        self.0.execute(
            "INSERT INTO queues (name, attributes, created_ms) VALUES (:name, :attributes, :now)
             ON CONFLICT (name) DO UPDATE SET attributes = excluded.attributes",
            named_params! {
                ":name": queue,
                ":attributes": json!(attributes).to_string(),
                ":now": clock::now_ms(),
            },
        )?;
        Ok(())
    }

    pub(super) fn delete_queue(&self, queue: &str) -> Result<(), SqsError> {
        self.0.execute("DELETE FROM queues WHERE name = ?", [queue])?;
        Ok(())
    }

    pub(super) fn purge(&self, queue: &str) -> Result<(), SqsError> {
        self.0.execute("DELETE FROM messages WHERE queue = ?", [queue])?;
        Ok(())
    }

    pub(super) fn send(&self, queue: &str, message: &NewMessage<'_>) -> Result<(), SqsError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO messages (queue, id, body, attributes, trace, message_group, sent_ms, visible_ms)
             VALUES (:queue, :id, :body, :attributes, :trace, :group, :now, :now + :delay_ms)",
        )?;
        statement.execute(named_params! {
            ":queue": queue,
            ":id": message.id,
            ":body": message.body,
            ":attributes": json!(message.attributes).to_string(),
            ":trace": message.trace,
            ":group": message.group,
            ":now": clock::now_ms(),
            ":delay_ms": message.delay_ms,
        })?;
        Ok(())
    }

    /// Receives up to `max` visible messages. Moves messages that exceed the receive count to the dead-letter queue.
    ///
    /// The queues are fair: the message of the group with the fewest messages in flight comes first.
    pub(super) fn receive(
        &mut self,
        queue: &str,
        attributes: &QueueAttributes,
        max: i64,
        visibility_ms: i64,
    ) -> Result<Vec<Received>, SqsError> {
        let now = clock::now_ms();
        let transaction = self.0.transaction()?;
        let oldest = now - attribute(attributes, "MessageRetentionPeriod") * 1000;
        transaction
            .prepare_cached("DELETE FROM messages WHERE queue = :queue AND sent_ms < :oldest")?
            .execute(named_params! { ":queue": queue, ":oldest": oldest })?;
        if let Some((dead_letters, max_receives)) = redrive(attributes) {
            transaction
                .prepare_cached(
                    "UPDATE messages SET queue = :dead_letters, visible_ms = :now, receipt = NULL, came_from = :queue
                     WHERE queue = :queue AND visible_ms <= :now AND receives >= :max_receives
                       AND EXISTS (SELECT 1 FROM queues WHERE name = :dead_letters)",
                )?
                .execute(named_params! {
                    ":dead_letters": dead_letters,
                    ":now": now,
                    ":queue": queue,
                    ":max_receives": max_receives,
                })?;
        }
        let received = {
            let mut statement = transaction.prepare_cached(
                "UPDATE messages
                 SET visible_ms = :now + :visibility_ms, receives = receives + 1, receipt = hex(randomblob(24)),
                     first_receive_ms = coalesce(first_receive_ms, :now)
                 WHERE seq IN (
                     SELECT oldest.seq
                     FROM (SELECT seq, visible_ms, message_group,
                                  row_number() OVER (PARTITION BY coalesce(message_group, seq)
                                                     ORDER BY visible_ms, seq) AS place
                           FROM (SELECT * FROM messages WHERE queue = :queue AND visible_ms <= :now
                                 ORDER BY visible_ms, seq LIMIT :compared)) AS oldest
                     LEFT JOIN (SELECT message_group, count(*) AS messages FROM messages
                                WHERE queue = :queue AND visible_ms > :now AND receipt IS NOT NULL
                                GROUP BY message_group) AS in_flight USING (message_group)
                     ORDER BY oldest.place + coalesce(in_flight.messages, 0), oldest.visible_ms, oldest.seq
                     LIMIT :max)
                 RETURNING id, body, attributes, trace, message_group, sent_ms, first_receive_ms, receives, receipt,
                           came_from",
            )?;
            let params = named_params! {
                ":queue": queue,
                ":now": now,
                ":max": max,
                ":compared": COMPARED,
                ":visibility_ms": visibility_ms,
            };
            statement.query_map(params, received)?.collect::<Result<_, _>>()?
        };
        transaction.commit()?;
        Ok(received)
    }

    /// Returns when the next message becomes visible.
    pub(super) fn next_visible_ms(&self, queue: &str) -> Result<Option<i64>, SqsError> {
        let mut statement =
            self.0.prepare_cached("SELECT min(visible_ms) AS next_ms FROM messages WHERE queue = ?")?;
        Ok(statement.query_row([queue], |row| row.get("next_ms"))?)
    }

    /// Deletes the message with this receipt handle. Does nothing if the handle is outdated or the message is gone.
    pub(super) fn delete(&self, queue: &str, receipt: &str) -> Result<(), SqsError> {
        let mut statement =
            self.0.prepare_cached("DELETE FROM messages WHERE queue = :queue AND receipt = :receipt")?;
        statement.execute(named_params! { ":queue": queue, ":receipt": receipt })?;
        Ok(())
    }

    /// Changes the visibility timeout of a message in flight. Returns false if the handle matches none.
    pub(super) fn change_visibility(&self, queue: &str, receipt: &str, ms: i64) -> Result<bool, SqsError> {
        let mut statement = self.0.prepare_cached(
            "UPDATE messages SET visible_ms = :now + :ms
             WHERE queue = :queue AND receipt = :receipt AND visible_ms > :now",
        )?;
        let params = named_params! {
            ":queue": queue,
            ":receipt": receipt,
            ":now": clock::now_ms(),
            ":ms": ms,
        };
        Ok(statement.execute(params)? > 0)
    }

    /// Returns the number of visible, in-flight and delayed messages.
    pub(super) fn counts(&self, queue: &str) -> Result<[i64; 3], SqsError> {
        let mut statement = self.0.prepare_cached(
            "SELECT coalesce(sum(visible_ms <= :now), 0) AS visible,
                    coalesce(sum(visible_ms > :now AND receipt IS NOT NULL), 0) AS in_flight,
                    coalesce(sum(visible_ms > :now AND receipt IS NULL), 0) AS delayed
             FROM messages WHERE queue = :queue",
        )?;
        let params = named_params! { ":queue": queue, ":now": clock::now_ms() };
        let read = |row: &Row<'_>| Ok([row.get("visible")?, row.get("in_flight")?, row.get("delayed")?]);
        Ok(statement.query_row(params, read)?)
    }

    /// Returns the name of each queue with the number of its messages and the age of the oldest in seconds.
    pub(super) fn sizes(&self) -> Result<Vec<(String, f64, f64)>, SqsError> {
        let mut statement = self.0.prepare_cached(
            "SELECT q.name, cast(count(m.seq) AS REAL) AS messages,
                    coalesce((:now - min(m.sent_ms)) / 1000.0, 0.0) AS age
             FROM queues q LEFT JOIN messages m ON m.queue = q.name GROUP BY q.name",
        )?;
        let read = |row: &Row<'_>| Ok((row.get("name")?, row.get("messages")?, row.get("age")?));
        Ok(statement.query_map(named_params! { ":now": clock::now_ms() }, read)?.collect::<Result<_, _>>()?)
    }

    /// Moves the visible messages of a dead-letter queue to `destination`, or back to their source queues.
    pub(super) fn move_all(&self, source: &str, destination: Option<&str>) -> Result<usize, SqsError> {
        Ok(self.0.execute(
            "UPDATE messages SET queue = coalesce(:destination, came_from), visible_ms = :now, receives = 0,
                                 receipt = NULL, came_from = NULL, sent_ms = :now
             WHERE queue = :source AND visible_ms <= :now
               AND coalesce(:destination, came_from) IN (SELECT name FROM queues)",
            named_params! { ":source": source, ":destination": destination, ":now": clock::now_ms() },
        )?)
    }
}

fn received(row: &Row<'_>) -> Result<Received, rusqlite::Error> {
    Ok(Received {
        id: row.get("id")?,
        body: row.get("body")?,
        attributes: serde_json::from_str(&row.get::<_, String>("attributes")?).unwrap_or_default(),
        trace: row.get("trace")?,
        group: row.get("message_group")?,
        sent_ms: row.get("sent_ms")?,
        first_receive_ms: row.get("first_receive_ms")?,
        receives: row.get("receives")?,
        receipt: row.get("receipt")?,
        came_from: row.get("came_from")?,
    })
}
