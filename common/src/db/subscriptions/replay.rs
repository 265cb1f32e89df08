//! Replays: events of the past are delivered again.

use crate::db::{Db, DbError, Statement, params, row};
use crate::domain::event::EventType;
use crate::domain::ids::SubscriptionId;
use jiff::Timestamp;

row! {
    pub(super) struct First {
        position: Option<i64>,
    }
}

/// Ids are ordered by the time of writing, positions by the time of commit: an event with a later id can have an
/// earlier position. No statement runs for a minute, so the first position is among the events of one minute.
pub(super) const FIRST_SINCE: Statement<First> = Statement::new(
    "find the first event since a time",
    "
with first as (
    select e.id from sms_events e where e.id >= sms_first_id($since) order by e.id limit 1
)
select min(e.position) as position
from first f
join sms_events e on e.id >= f.id and e.id < sms_first_id(to_timestamp(
    ('x' || left(replace(f.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) + interval '1 minute')",
);

/// Returns the first position of the events that were written at a time or later. Earlier events can follow it.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn first_since(db: &Db, since: Timestamp) -> Result<Option<i64>, DbError> {
    let rows = db.query_idempotent(&FIRST_SINCE, &params! { since }).await?;
    Ok(rows.first().and_then(|row| row.position))
}

/// A replay of a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The subscription that gets the events.
    pub subscription_id: SubscriptionId,
    /// After this position.
    pub after: i64,
    /// Up to this position.
    pub until: i64,
    /// Of these types; none: all of the subscription.
    pub types: Vec<EventType>,
}

/// The result of the request to start a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Now,
    /// Another one runs.
    AlreadyRunning,
    /// The subscription is disabled, or was deleted.
    NotActive,
}

row! {
    pub(super) struct StartedRow {
        is_active: bool,
        has_started: bool,
    }
}

pub(super) const START_REPLAY: Statement<StartedRow> = Statement::new(
    "start a replay",
    "
with active as (
    select s.id from sms_subscriptions s where s.id = $subscription_id and s.status = $active
), started as (
    insert into sms_delivery_streams (subscription_id, kind, position, target, types)
    select a.id, 'replay', $after, $until, $types from active a
    on conflict (subscription_id, kind) do nothing
    returning subscription_id
)
select exists (select from active) as is_active, exists (select from started) as has_started",
);

/// Starts a replay, unless one runs. `retry-events` sends its first hint within a minute.
///
/// # Errors
///
/// [`DbError`]: the replay may run.
pub async fn start_replay(db: &Db, replay: &Replay) -> Result<Started, DbError> {
    let Replay { subscription_id, after, until, types } = replay;
    let active = crate::domain::subscription::SubscriptionStatus::Active;
    let rows = db.query(&START_REPLAY, &params! { subscription_id, after, until, types, active }).await?;
    Ok(match rows.first() {
        Some(StartedRow { has_started: true, .. }) => Started::Now,
        Some(StartedRow { is_active: true, .. }) => Started::AlreadyRunning,
        _ => Started::NotActive,
    })
}
