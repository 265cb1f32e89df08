//! The stored attempts of deliveries.

use crate::db::{Db, DbError, Statement, params, row};
use crate::domain::ids::SubscriptionId;
use jiff::Timestamp;
use uuid::Uuid;

row! {
    /// An attempt that failed, or that succeeded after a failure.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Attempt {
        /// Its id, ordered by time.
        pub id: Uuid,
        /// The event.
        pub event_id: Uuid,
        /// The number of the attempt, from 1.
        pub attempt: i32,
        /// When it began.
        pub attempted_at: Timestamp,
        /// How long it took.
        pub duration_ms: i32,
        /// The HTTP status, if there was a response.
        pub status_code: Option<i32>,
        /// Why it failed.
        pub error: Option<String>,
        /// The start of the response.
        pub response_body: Option<String>,
        /// When the event is sent again; null if it was delivered or given up.
        pub next_attempt_at: Option<Timestamp>,
    }
}

pub(super) const ATTEMPTS: Statement<Attempt> = Statement::new(
    "list attempts of deliveries",
    "
select a.id, a.event_id, a.attempt, a.attempted_at, a.duration_ms, a.status_code, a.error, a.response_body,
    a.next_attempt_at
from sms_delivery_attempts a
where a.subscription_id = $subscription_id and ($before::uuid is null or a.id < $before)
order by a.id desc limit $limit",
);

/// Lists the attempts of a subscription, newest first, after the one with the id `before`.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn attempts(
    db: &Db,
    subscription_id: SubscriptionId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Attempt>, DbError> {
    db.query_idempotent(&ATTEMPTS, &params! { subscription_id, before, limit }).await
}
