//! Subscriptions: created, read, changed and deleted by their keys. Deliveries are in [`super::deliveries`].
//!
//! Statements lock the streams of a subscription before the subscription, like the workers.

mod attempts;
mod change;
mod replay;

pub use attempts::{Attempt, attempts};
pub use change::{Changes, resume, rotate, update};
pub use replay::{Replay, Started, first_since, start_replay};

use super::types::text_enums;
use super::{Db, DbError, Statement, params, row, statements};
use crate::config::Secret;
use crate::domain::event::{DisabledReason, EventType};
use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::SubscriptionStatus;
use attempts::ATTEMPTS;
use change::{RESUME, ROTATE, UPDATE};
use jiff::Timestamp;
use replay::{FIRST_SINCE, START_REPLAY};
use uuid::Uuid;

text_enums!(DisabledReason, SubscriptionStatus);

row! {
    /// A stored subscription, without its secrets.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Subscription {
        /// Its id.
        pub id: SubscriptionId,
        /// Where events are posted, unless it has a queue.
        pub url: Option<String>,
        /// The queue that gets the events.
        pub queue_arn: Option<String>,
        /// The types of its events; all if there are none.
        pub event_types: Vec<EventType>,
        /// Only events of this workflow.
        pub workflow_type: Option<String>,
        /// Only events of this tenant.
        pub tenant_id: Option<String>,
        /// Whether events of conversations without a tenant are delivered.
        pub include_unknown: bool,
        /// Whether numbers and text are added to message events.
        pub content: bool,
        /// The maximum number of deliveries at a time.
        pub max_in_flight: i32,
        /// How long a failed event holds back later ones of its conversation.
        pub max_hold_seconds: i32,
        /// What its owner calls it.
        pub description: Option<String>,
        /// Whether it gets events.
        pub status: SubscriptionStatus,
        /// Why it is disabled.
        pub disabled_reason: Option<DisabledReason>,
        /// The first failure after the last success.
        pub failing_since: Option<Timestamp>,
        /// Until when the previous secret signs too.
        pub previous_until: Option<Timestamp>,
        /// Whether a replay runs.
        pub is_replaying: bool,
        /// When it was created.
        pub created_at: Timestamp,
        /// When it was changed last.
        pub updated_at: Timestamp,
    }
}

/// The columns of a [`Subscription`], of the table or CTE `s`.
macro_rules! columns {
    () => {
        "s.id, s.url, s.queue_arn, s.event_types, s.workflow_type, s.tenant_id, s.include_unknown, s.content,
    s.max_in_flight, s.max_hold_seconds, s.description, s.status, s.disabled_reason, s.failing_since,
    s.previous_until, s.created_at, s.updated_at,
    exists (select from sms_delivery_streams d where d.subscription_id = s.id and d.kind = 'replay') as is_replaying"
    };
}

use columns;

/// A new subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The key that creates it.
    pub api_key_id: Uuid,
    /// See [`Subscription`].
    pub url: Option<String>,
    /// See [`Subscription`].
    pub queue_arn: Option<String>,
    /// See [`Subscription`].
    pub event_types: Vec<EventType>,
    /// See [`Subscription`].
    pub workflow_type: Option<String>,
    /// See [`Subscription`].
    pub tenant_id: Option<String>,
    /// See [`Subscription`].
    pub include_unknown: bool,
    /// See [`Subscription`].
    pub content: bool,
    /// See [`Subscription`].
    pub max_in_flight: i32,
    /// See [`Subscription`].
    pub max_hold_seconds: i32,
    /// See [`Subscription`].
    pub description: Option<String>,
    /// The secret that signs its events.
    pub secret: Secret,
    /// The current time.
    pub created_at: Timestamp,
}

/// The steps of the statement:
/// - `s`: the subscription. A repetition after a lost response finds it;
/// - `stream`: it begins at the end of the log.
const CREATE: Statement<Subscription> = Statement::new(
    "create a subscription",
    concat!(
        "
with s as (
    insert into sms_subscriptions as s (
        id, url, queue_arn, event_types, workflow_type, tenant_id, include_unknown, content, max_in_flight,
        max_hold_seconds, description, secret, api_key_id, status, created_at, updated_at)
    values ($id, $url, $queue_arn, $event_types, $workflow_type, $tenant_id, $include_unknown, $content, $max_in_flight,
        $max_hold_seconds, $description, $secret, $api_key_id, $status, $now, $now)
    on conflict (id) do update set updated_at = excluded.updated_at
    returning s.*
), stream as (
    insert into sms_delivery_streams (subscription_id, kind, position, target)
    select s.id, 'live', c.last_position, c.last_position from s cross join sms_event_counter c
    on conflict (subscription_id, kind) do nothing
)
select ",
        columns!(),
        " from s"
    ),
);

/// Stores a new, active subscription to events after the end of the log. Call [`super::events::number`] before.
///
/// # Errors
///
/// [`DbError`]: a retry with the same id is safe.
pub async fn create(db: &Db, new: &NewSubscription) -> Result<Option<Subscription>, DbError> {
    let NewSubscription { id, api_key_id, url, queue_arn, event_types, workflow_type, tenant_id, .. } = new;
    let NewSubscription { include_unknown, content, max_in_flight, max_hold_seconds, description, .. } = new;
    let params = params! {
        id, api_key_id, url, queue_arn, event_types, workflow_type, tenant_id, include_unknown, content,
        max_in_flight, max_hold_seconds, description, secret: new.secret.expose(),
        status: SubscriptionStatus::Active, now: new.created_at,
    };
    Ok(db.query_idempotent(&CREATE, &params).await?.into_iter().next())
}

const LIST: Statement<Subscription> = Statement::new(
    "list subscriptions",
    concat!(
        "select ",
        columns!(),
        "
from sms_subscriptions s
where ($owner::uuid is null or s.api_key_id = $owner) and ($before::uuid is null or s.id < $before)
order by s.id desc limit $limit"
    ),
);

/// Lists the subscriptions of a key, or all, newest first, after the one with the id `before`.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn list(
    db: &Db,
    owner: Option<Uuid>,
    before: Option<SubscriptionId>,
    limit: i64,
) -> Result<Vec<Subscription>, DbError> {
    db.query_idempotent(&LIST, &params! { owner, before, limit }).await
}

row! {
    struct SecretsRow {
        secret: String,
        previous_secret: Option<String>,
    }
}

const FIND: Statement<(Subscription, SecretsRow)> = Statement::new(
    "find a subscription",
    concat!(
        "select ",
        columns!(),
        ",
    s.secret, case when s.previous_until > $now then s.previous_secret end as previous_secret
from sms_subscriptions s where s.id = $id and ($owner::uuid is null or s.api_key_id = $owner)"
    ),
);

/// Finds a subscription of a key, or of any key, with the secrets that sign its events now, the current one first.
///
/// # Errors
///
/// [`DbError`] when the query fails.
pub async fn find(
    db: &Db,
    id: SubscriptionId,
    owner: Option<Uuid>,
    now: Timestamp,
) -> Result<Option<(Subscription, Vec<Secret>)>, DbError> {
    let found = db.query_idempotent(&FIND, &params! { id, owner, now }).await?.into_iter().next();
    Ok(found.map(|(subscription, SecretsRow { secret, previous_secret })| {
        let secrets = std::iter::once(secret).chain(previous_secret).map(Secret::new).collect();
        (subscription, secrets)
    }))
}

row! {
    struct Deleted {
        is_deleted: bool,
    }
}

/// `stream` has the locks of the workers, and its deliveries are deleted with it.
const DELETE: Statement<Deleted> = Statement::new(
    "delete a subscription",
    "
with stream as (
    delete from sms_delivery_streams d using sms_subscriptions s
    where s.id = $id and ($owner::uuid is null or s.api_key_id = $owner) and d.subscription_id = s.id
    returning d.kind
)
delete from sms_subscriptions s using (select count(*) from stream) t
where s.id = $id and ($owner::uuid is null or s.api_key_id = $owner)
returning true as is_deleted",
);

/// Deletes a subscription of a key, or of any key, with its undelivered events. Returns whether it existed.
///
/// # Errors
///
/// [`DbError`]: a retry is safe, but returns `false` if the first one took effect.
pub async fn delete(db: &Db, id: SubscriptionId, owner: Option<Uuid>) -> Result<bool, DbError> {
    Ok(db.query_idempotent(&DELETE, &params! { id, owner }).await?.iter().any(|row| row.is_deleted))
}

statements!(ATTEMPTS, CREATE, DELETE, FIND, FIRST_SINCE, LIST, RESUME, ROTATE, START_REPLAY, UPDATE);
