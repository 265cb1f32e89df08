//! Events about subscriptions that are published to the operators' topic.

use super::{Db, DbError, Statement, params, row, statements};
use crate::domain::event::EventType;

row! {
    /// An event about a subscription.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Notice {
        /// Its position in the log.
        pub position: i64,
        /// Its type.
        pub event_type: EventType,
        /// Its body.
        pub body: String,
    }
}

const NEXT: Statement<Notice> = Statement::new(
    "find notices",
    "
select e.position, e.event_type, e.body
from sms_notice_counter c join sms_events e on e.subscription_id is not null and e.position > c.position
order by e.position
limit $limit",
);

/// Returns events that were not published yet, in the order of the log. Call [`super::events::number`] before.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn next(db: &Db, limit: i64) -> Result<Vec<Notice>, DbError> {
    db.query_idempotent(&NEXT, &params! { limit }).await
}

const ADVANCE: Statement<()> = Statement::new(
    "record that notices were published",
    "update sms_notice_counter set position = $position where position < $position",
);

/// Records that the events up to a position were published.
///
/// # Errors
///
/// [`DbError`]: they may be published again.
pub async fn advance(db: &Db, position: i64) -> Result<(), DbError> {
    db.query_idempotent(&ADVANCE, &params! { position }).await.map(drop)
}

statements!(NEXT, ADVANCE);
