//! The event log: gives committed events their positions, and reads them.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;
use crate::domain::ids::ConversationId;

/// The maximum number of events that one statement numbers. Takes some milliseconds.
const NUMBERED_AT_ONCE: i32 = 1000;

row! {
    struct NumberedRow {
        numbered: i64,
        last_position: i64,
    }
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The last position; 0 if there was no event yet.
    pub last_position: i64,
    /// How many events have just got their position.
    pub numbered: usize,
    /// Whether committed events without a position may be left.
    pub has_more: bool,
}

/// Its steps are described in `migrations/functions/sms_number_events.sql`.
const NUMBER: Statement<NumberedRow> = Statement::new(
    "number events",
    "select numbered, last_position from sms_number_events(max_number => $max_number)",
);

/// Gives positions to committed events, and returns the end of the log. Every reader calls it before it reads.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn number(db: &Db) -> Result<LogEnd, DbError> {
    let rows = db.query_idempotent(&NUMBER, &params! { max_number: NUMBERED_AT_ONCE }).await?;
    let (numbered, last_position) = rows.first().map_or((0, 0), |row| (row.numbered, row.last_position));
    let has_more = numbered == i64::from(NUMBERED_AT_ONCE);
    Ok(LogEnd { last_position, numbered: usize::try_from(numbered).unwrap_or_default(), has_more })
}

/// A filter for events. Fields that are not set match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these types; all if it is empty.
    pub types: Vec<EventType>,
    /// The workflow.
    pub workflow_type: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// The conversation.
    pub conversation_id: Option<ConversationId>,
}

row! {
    struct Found {
        first: i64,
        position: Option<i64>,
        body: Option<String>,
    }
}

/// A filter may match few events, so a statement examines a range of positions and no more. The range begins at the
/// first kept event.
const READ: Statement<Found> = Statement::new(
    "read events",
    "
select f.position as first, e.position, e.body
from (select e.position from sms_events e where e.position > $after order by e.position limit 1) f
left join lateral (
    select e.position, e.body from sms_events e
    where e.position >= f.position and e.position < f.position + $range and e.position <= $until
      and (cardinality($types::text[]) = 0 or e.event_type = any($types))
      and ($workflow_type::text is null or e.workflow_type = $workflow_type)
      and ($tenant_id::text is null or e.tenant_id = $tenant_id)
      and ($conversation_id::uuid is null or e.conversation_id = $conversation_id)
    order by e.position limit $limit
) e on true
order by e.position",
);

/// Events of the log, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The events with their positions.
    pub events: Vec<(i64, String)>,
    /// The position up to which the log was searched. Reading continues after it.
    pub read_to: i64,
}

/// Reads at most `limit` matching events after a position and up to `until`, the end of the log. Examines at most
/// `range` positions.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn read(
    db: &Db,
    filter: &Filter,
    after: i64,
    until: i64,
    limit: i64,
    range: i64,
) -> Result<Slice, DbError> {
    let Filter { types, workflow_type, tenant_id, conversation_id } = filter;
    let params = params! { after, until, limit, range, types, workflow_type, tenant_id, conversation_id };
    let rows = db.query_idempotent(&READ, &params).await?;
    let first = rows.first().map(|row| row.first);
    let events: Vec<(i64, String)> = rows.into_iter().filter_map(|row| row.position.zip(row.body)).collect();
    let read_to = match (events.last(), first) {
        (Some((position, _)), _) if events.len() as i64 == limit => *position,
        (_, Some(first)) => (first + range - 1).min(until),
        (_, None) => until,
    };
    Ok(Slice { events, read_to: read_to.max(after) })
}

statements!(NUMBER, READ);
