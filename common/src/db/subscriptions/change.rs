//! Changes of subscriptions.

use super::{Subscription, columns};
use crate::config::Secret;
use crate::db::{Db, DbError, Statement, params, row};
use crate::domain::event::EventType;
use crate::domain::ids::SubscriptionId;
use jiff::Timestamp;
use uuid::Uuid;

/// The changes: `None` keeps a field. For fields that can be cleared, `Some(None)` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Another destination: a URL or a queue. The failures of the previous one are forgotten.
    pub destination: Option<(Option<String>, Option<String>)>,
    /// The types; none: all.
    pub event_types: Option<Vec<EventType>>,
    /// The workflow.
    pub workflow_type: Option<Option<String>>,
    /// The tenant.
    pub tenant_id: Option<Option<String>>,
    /// Whether events of conversations without a tenant are delivered.
    pub include_unknown: Option<bool>,
    /// Whether numbers and text are added.
    pub content: Option<bool>,
    /// The maximum number of deliveries at a time.
    pub max_in_flight: Option<i32>,
    /// How long a failed event holds back later ones.
    pub max_hold_seconds: Option<i32>,
    /// What its owner calls it.
    pub description: Option<Option<String>>,
}

/// The steps of the statement:
/// - `given`: the subscription, if it belongs to the key;
/// - `stream`: the pauses of the previous destination end. `retry-events` sends a hint within a minute;
/// - `s`: the changed subscription.
pub(super) const UPDATE: Statement<Subscription> = Statement::new(
    "update a subscription",
    concat!(
        "
with given as (
    select s.id from sms_subscriptions s where s.id = $id and ($owner::uuid is null or s.api_key_id = $owner)
), stream as (
    update sms_delivery_streams d
    set failures = 0, paused_until = '-infinity', slow_until = '-infinity', hinted_at = null, wake_at = null
    from given g where d.subscription_id = g.id and $moves
    returning d.kind
), s as (
    update sms_subscriptions s
    set url = case when $moves then $url else s.url end,
        queue_arn = case when $moves then $queue_arn else s.queue_arn end,
        failing_since = case when $moves then null else s.failing_since end,
        warned_percent = case when $moves then 0 else s.warned_percent end,
        event_types = coalesce($event_types, s.event_types),
        workflow_type = case when $sets_workflow_type then $workflow_type else s.workflow_type end,
        tenant_id = case when $sets_tenant_id then $tenant_id else s.tenant_id end,
        include_unknown = coalesce($include_unknown, s.include_unknown),
        content = coalesce($content, s.content),
        max_in_flight = coalesce($max_in_flight, s.max_in_flight),
        max_hold_seconds = coalesce($max_hold_seconds, s.max_hold_seconds),
        description = case when $sets_description then $description else s.description end,
        updated_at = $now
    from given g cross join (select count(*) from stream) t where s.id = g.id
    returning s.*
)
select ",
        columns!(),
        " from s"
    ),
);

/// Changes a subscription of a key, or of any key, and returns it.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn update(
    db: &Db,
    id: SubscriptionId,
    owner: Option<Uuid>,
    changes: &Changes,
    now: Timestamp,
) -> Result<Option<Subscription>, DbError> {
    let Changes {
        destination, event_types, include_unknown, content, max_in_flight, max_hold_seconds, ..
    } = changes;
    let (url, queue_arn) = destination.as_ref().map_or((&None, &None), |(url, arn)| (url, arn));
    let params = params! {
        id, owner, now, url, queue_arn, event_types, include_unknown, content, max_in_flight, max_hold_seconds,
        moves: destination.is_some(),
        sets_workflow_type: changes.workflow_type.is_some(),
        workflow_type: changes.workflow_type.as_ref().and_then(Option::as_deref),
        sets_tenant_id: changes.tenant_id.is_some(),
        tenant_id: changes.tenant_id.as_ref().and_then(Option::as_deref),
        sets_description: changes.description.is_some(),
        description: changes.description.as_ref().and_then(Option::as_deref),
    };
    Ok(db.query_idempotent(&UPDATE, &params).await?.into_iter().next())
}

/// A repetition after a lost response finds the new secret, and keeps the previous one.
pub(super) const ROTATE: Statement<Subscription> = Statement::new(
    "rotate a secret",
    concat!(
        "
with s as (
    update sms_subscriptions s
    set secret = $secret,
        previous_secret = case when s.secret = $secret then s.previous_secret
            when $until::timestamptz > $now then s.secret end,
        previous_until = case when $until::timestamptz > $now then $until::timestamptz end,
        updated_at = $now
    where s.id = $id and ($owner::uuid is null or s.api_key_id = $owner)
    returning s.*
)
select ",
        columns!(),
        " from s"
    ),
);

/// Replaces the secret of a subscription of a key, or of any key. The previous one signs too until `until`; an older
/// one no longer does.
///
/// # Errors
///
/// [`DbError`]: a retry with the same secret is safe.
pub async fn rotate(
    db: &Db,
    id: SubscriptionId,
    owner: Option<Uuid>,
    secret: &Secret,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Subscription>, DbError> {
    let params = params! { id, owner, secret: secret.expose(), until, now };
    Ok(db.query_idempotent(&ROTATE, &params).await?.into_iter().next())
}

row! {
    pub(super) struct Resumed {
        is_resumed: bool,
    }
}

/// Its steps are described in `migrations/functions/sms_resume_subscription.sql`.
pub(super) const RESUME: Statement<Resumed> = Statement::new(
    "enable a subscription",
    "select sms_resume_subscription(of_subscription => $id, at => $now) as is_resumed",
);

/// Enables a disabled subscription. Delivery continues where it ended. Returns whether it was disabled. Call
/// [`crate::db::events::number`] before.
///
/// # Errors
///
/// [`DbError`]: a retry is safe.
pub async fn resume(db: &Db, id: SubscriptionId, now: Timestamp) -> Result<bool, DbError> {
    let rows = db.query_idempotent(&RESUME, &params! { id, now }).await?;
    Ok(rows.first().is_some_and(|row| row.is_resumed))
}
