//! Reading the event log: by cursor, with filters, and waiting for new events.

use crate::db::events::{self, Filter};
use crate::db::{Db, DbError};
use crate::domain::event::EventType;
use crate::domain::ids::ConversationId;
use crate::http::Parameters;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How many positions one statement examines: some ten milliseconds.
const RANGE: i64 = 20_000;

/// How long a read searches for events that match its filter. It continues at the cursor that it returns.
const SEARCH_FOR: Duration = Duration::from_secs(3);

/// The first interval between two reads of a reader that waits. Each further one is half as long again.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// A place in the log, opaque to callers. It is valid with every filter, and after the database was dumped and
/// restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    position: i64,
}

/// The first byte of a cursor, so that its format can change.
const VERSION: u8 = 1;
/// Length of the check value: enough to detect mistakes. A cursor gives no access that its caller lacks.
const CHECK: usize = 4;

/// The text is not a cursor of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a next_cursor of this API")]
pub struct NotACursor;

impl Cursor {
    /// The start of the log: before the oldest kept event.
    pub const START: Self = Self { position: 0 };

    /// Returns the cursor of a position of the log.
    #[must_use]
    pub const fn at(position: i64) -> Self {
        Self { position }
    }

    /// Returns the position of the log.
    #[must_use]
    pub const fn position(self) -> i64 {
        self.position
    }

    /// Returns the version, the position and the check value.
    fn bytes(self) -> [u8; 9 + CHECK] {
        let mut bytes = [0; 9 + CHECK];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.position.to_be_bytes());
        let digest = Sha256::digest(&bytes[..9]);
        bytes[9..].copy_from_slice(&digest[..CHECK]);
        bytes
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let position = bytes.get(1..).and_then(|rest| rest.first_chunk::<8>()).ok_or(NotACursor)?;
        let cursor = Self { position: i64::from_be_bytes(*position) };
        if bytes == cursor.bytes() && cursor.position >= 0 { Ok(cursor) } else { Err(NotACursor) }
    }
}

/// The names of the parameters of [`filter`].
pub const FILTERS: [&str; 4] = ["types", "workflow_type", "tenant_id", "conversation"];

/// Reads the filter of a request that reads the log.
pub fn filter(given: &mut Parameters) -> Filter {
    Filter {
        types: types(given),
        workflow_type: given.text("workflow_type"),
        tenant_id: given.text("tenant_id"),
        conversation_id: given.one_of::<ConversationId>("conversation", "a conversation_id"),
    }
}

/// Reads types, separated by commas.
fn types(given: &mut Parameters) -> Vec<EventType> {
    let Some(text) = given.text("types") else { return Vec::new() };
    let parsed: Result<Vec<EventType>, _> = text.split(',').map(str::parse).collect();
    parsed
        .map_err(|error| given.problem("types", format!("must be event types, separated by commas: {error}")))
        .unwrap_or_default()
}

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The place after the event: reading from here continues with the next one.
    pub cursor: Cursor,
    /// The body.
    pub body: String,
}

/// Events of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events, in the order of the log.
    pub events: Vec<Event>,
    /// Where the next page begins.
    pub next: Cursor,
    /// Whether the log continues after this page. The rest may contain no matching event.
    pub has_more: bool,
}

/// The events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log does not reach the cursor: it is from another database, or from before the restore of an older backup.
    #[error(transparent)]
    Cursor(#[from] NotACursor),
    /// Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Reads the next matching events, at most `limit`.
///
/// # Errors
///
/// [`ReadError::Cursor`] when the log ends before the cursor; [`ReadError::Db`] when Postgres fails: read again.
pub async fn read(db: &Db, filter: &Filter, after: Cursor, limit: usize) -> Result<Page, ReadError> {
    let (began, mut after, mut events) = (Instant::now(), after.position, Vec::new());
    loop {
        let end = events::number(db).await?;
        if after > end.last_position {
            return Err(NotACursor.into());
        }
        while after < end.last_position && events.len() < limit && began.elapsed() < SEARCH_FOR {
            let rest = (limit - events.len()) as i64;
            let found = events::read(db, filter, after, end.last_position, rest, RANGE).await?;
            let found_events = found.events.into_iter();
            events.extend(found_events.map(|(position, body)| Event { cursor: Cursor { position }, body }));
            after = found.read_to;
        }
        let has_more = after < end.last_position || end.has_more;
        if !has_more || events.len() == limit || began.elapsed() >= SEARCH_FOR {
            return Ok(Page { events, next: Cursor { position: after }, has_more });
        }
    }
}

/// Reads like [`read`]. If there is no matching event, waits for one for at most `wait`. Between two reads the
/// connection is in the pool, and no transaction is open.
///
/// # Errors
///
/// See [`read`].
pub async fn read_or_wait(
    db: &Db,
    filter: &Filter,
    mut after: Cursor,
    limit: usize,
    wait: Duration,
    longest_interval: Duration,
) -> Result<Page, ReadError> {
    let (began, mut interval) = (Instant::now(), FIRST_INTERVAL);
    loop {
        let page = read(db, filter, after, limit).await?;
        let left = wait.saturating_sub(began.elapsed());
        if !page.events.is_empty() || page.has_more || left.is_zero() {
            return Ok(page);
        }
        after = page.next;
        tokio::time::sleep(interval.min(left)).await;
        interval = (interval * 3 / 2).min(longest_interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_from_its_text() {
        for position in [0, 1, 255, i64::MAX] {
            let cursor = Cursor { position };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        // Callers store cursors, so their text must not change.
        assert_eq!(Cursor { position: 42 }.to_string(), "AQAAAAAAAAAqzcg7Ng");
    }

    #[test]
    fn another_text_is_not_a_cursor() {
        let text = Cursor { position: 42 }.to_string();
        let negative = Cursor { position: -1 }.to_string();
        let mut changed = text.clone().into_bytes();
        changed[10] = if changed[10] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let texts =
            ["", "1", "42", "99999999999999999999", "%", &text[1..], &text[..16], &negative, &changed];
        for text in texts.into_iter().chain([format!("{text}A").as_str(), &format!("{text}=")]) {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text}");
        }
    }
}
