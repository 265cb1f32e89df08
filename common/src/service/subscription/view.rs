//! Subscriptions and deliveries, as the API shows them.

use crate::clock;
use crate::config::Secret;
use crate::db::subscriptions;
use crate::domain::event::{DisabledReason, EventType};
use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::SubscriptionStatus;
use crate::subscribers::Attempt;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A subscription to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01900000-0000-7000-8000-0000000000a1", "url": "https://collections.example/sms-events",
    "queue_arn": null, "event_types": ["message.received"], "workflow_type": null, "tenant_id": null,
    "include_unknown": false, "content": false, "max_in_flight": 10, "max_hold_seconds": 300, "description": null,
    "status": "active", "disabled_reason": null, "failing_since": null, "previous_secret_until": null,
    "is_replaying": false, "created_at": "2026-11-01T12:00:00Z", "updated_at": "2026-11-01T12:00:00Z"
}))]
pub struct Subscription {
    /// Subscription id.
    #[schema(value_type = Uuid)]
    pub id: SubscriptionId,
    /// URL that events are posted to; null if it has a queue.
    pub url: Option<String>,
    /// ARN of the SQS queue that gets the events; null if it has a URL.
    pub queue_arn: Option<String>,
    /// Types of its events; all if the list is empty.
    #[schema(value_type = Vec<String>)]
    pub event_types: Vec<EventType>,
    /// Only events of this workflow; null: of any.
    pub workflow_type: Option<String>,
    /// Only events of this tenant; null: of any.
    pub tenant_id: Option<String>,
    /// Whether events of numbers without a tenant are delivered.
    pub include_unknown: bool,
    /// Whether `from_number`, `to_number` and `message_content` are added to the data of message events.
    pub content: bool,
    /// Maximum number of deliveries at a time.
    pub max_in_flight: i32,
    /// Seconds that a failed event holds back later events of its conversation.
    pub max_hold_seconds: i32,
    /// Description.
    pub description: Option<String>,
    /// `active` or `disabled`.
    #[schema(value_type = String)]
    pub status: SubscriptionStatus,
    /// Why it is disabled: `gone` (its URL answered 410) or `failing`.
    #[schema(value_type = Option<String>)]
    pub disabled_reason: Option<DisabledReason>,
    /// Time of the first failure after the last success; null if deliveries succeed.
    pub failing_since: Option<Timestamp>,
    /// Until then events are also signed with the secret before the last rotation.
    pub previous_secret_until: Option<Timestamp>,
    /// Whether a replay runs.
    pub is_replaying: bool,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl From<subscriptions::Subscription> for Subscription {
    fn from(stored: subscriptions::Subscription) -> Self {
        Self {
            id: stored.id,
            url: stored.url,
            queue_arn: stored.queue_arn,
            event_types: stored.event_types,
            workflow_type: stored.workflow_type,
            tenant_id: stored.tenant_id,
            include_unknown: stored.include_unknown,
            content: stored.content,
            max_in_flight: stored.max_in_flight,
            max_hold_seconds: stored.max_hold_seconds,
            description: stored.description,
            status: stored.status,
            disabled_reason: stored.disabled_reason,
            failing_since: stored.failing_since,
            previous_secret_until: stored.previous_until.filter(|until| *until > clock::now()),
            is_replaying: stored.is_replaying,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

/// A subscription with its new secret, which is not shown again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01900000-0000-7000-8000-0000000000a1", "url": "https://collections.example/sms-events",
    "queue_arn": null, "event_types": ["message.received"], "workflow_type": null, "tenant_id": null,
    "include_unknown": false, "content": false, "max_in_flight": 10, "max_hold_seconds": 300, "description": null,
    "status": "active", "disabled_reason": null, "failing_since": null, "previous_secret_until": null,
    "is_replaying": false, "created_at": "2026-11-01T12:00:00Z", "updated_at": "2026-11-01T12:00:00Z",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
}))]
pub struct SubscriptionWithSecret {
    #[serde(flatten)]
    subscription: Subscription,
    /// Secret that signs the events (Standard Webhooks). Store it: it is not shown again.
    #[schema(value_type = String, example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    secret: Exposed,
}

impl SubscriptionWithSecret {
    /// Creates the response that shows a secret.
    #[must_use]
    pub fn new(stored: subscriptions::Subscription, secret: Secret) -> Self {
        Self { subscription: stored.into(), secret: Exposed(secret) }
    }
}

/// A secret that is written as JSON on purpose.
#[derive(Debug)]
struct Exposed(Secret);

impl Serialize for Exposed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose().serialize(serializer)
    }
}

/// An attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delivery {
    /// Event id; the header `webhook-id` of the request.
    pub event_id: Uuid,
    /// Number of the attempt, starting at 1.
    pub attempt: i32,
    /// Time of the attempt.
    pub at: Timestamp,
    /// HTTP status; null without a response, and for a queue that accepted the event.
    pub status_code: Option<i32>,
    /// Why it failed; null if it succeeded.
    pub error: Option<String>,
    /// Duration in milliseconds.
    pub duration_ms: i32,
    /// When the event is sent again; null if it was delivered or given up.
    pub next_attempt_at: Option<Timestamp>,
    /// Start of the response, up to 4 KiB. Not kept for subscriptions with `content`.
    pub response_body: Option<String>,
}

impl From<subscriptions::Attempt> for Delivery {
    fn from(stored: subscriptions::Attempt) -> Self {
        Self {
            event_id: stored.event_id,
            attempt: stored.attempt,
            at: stored.attempted_at,
            status_code: stored.status_code,
            error: stored.error,
            duration_ms: stored.duration_ms,
            next_attempt_at: stored.next_attempt_at,
            response_body: stored.response_body,
        }
    }
}

impl Delivery {
    /// Returns a delivery that was made just now, and is not repeated.
    pub(super) fn of_test(event_id: Uuid, at: Timestamp, made: Attempt) -> Self {
        Self {
            event_id,
            attempt: 1,
            at,
            status_code: made.status_code.map(i32::from),
            error: made.error,
            duration_ms: made.duration.as_millis().try_into().unwrap_or(i32::MAX),
            next_attempt_at: None,
            response_body: made.response_body,
        }
    }
}
