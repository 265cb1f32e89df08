//! The request body.

use common::db::subscriptions::{self, Changes};
use common::domain::event::EventType;
use common::http::{Fields, ValidationError};
use common::service::subscription::{GivenDestination, SubscriptionFields};
use common::subscribers::Destination;
use serde::Serialize;
use utoipa::ToSchema;

/// Fields to change. Absent fields stay unchanged; `null` clears `workflow_type`, `tenant_id` and `description`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"event_types": ["message.received", "message.failed"], "max_in_flight": 20}))]
pub struct SubscriptionChanges {
    /// New https URL; replaces a queue.
    #[schema(max_length = 2048, format = "uri")]
    pub url: Option<String>,
    /// New SQS queue; replaces a URL.
    pub queue_arn: Option<String>,
    /// Types of events; an empty list means all types.
    #[schema(value_type = Option<Vec<EventType>>, max_items = 100)]
    pub event_types: Option<Vec<String>>,
    /// Only events of this workflow.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9_]{0,63}$")]
    pub workflow_type: Option<String>,
    /// Only events of this tenant.
    #[schema(min_length = 1, max_length = 255)]
    pub tenant_id: Option<String>,
    /// Whether events of numbers without a tenant are delivered.
    pub include_unknown: Option<bool>,
    /// Whether numbers and text are added to the data of message events.
    pub content: Option<bool>,
    /// Maximum number of deliveries at a time.
    #[schema(minimum = 1, maximum = 100)]
    pub max_in_flight: Option<i32>,
    /// Seconds that a failed event holds back later events of its conversation.
    #[schema(minimum = 0, maximum = 3600)]
    pub max_hold_seconds: Option<i32>,
    /// Description.
    #[schema(min_length = 1, max_length = 500)]
    pub description: Option<String>,
}

/// Parses the request body.
///
/// # Errors
///
/// [`ValidationError`] with all invalid fields.
pub(crate) fn parse(body: &[u8]) -> Result<SubscriptionFields, ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let read = SubscriptionFields::read(&mut fields);
    fields.finish_with(Some(read))
}

/// Returns whether a subscription has this destination.
pub(crate) fn is_destination_of(given: &GivenDestination, stored: &subscriptions::Subscription) -> bool {
    let stored = Destination::stored(stored.url.as_deref(), stored.queue_arn.as_deref());
    stored.is_ok_and(|stored| stored == given.parsed)
}

/// Returns the changes that are stored.
pub(crate) fn changes(fields: SubscriptionFields, moves_to: Option<&GivenDestination>) -> Changes {
    Changes {
        destination: moves_to.map(GivenDestination::columns),
        event_types: fields.event_types,
        workflow_type: fields.workflow_type,
        tenant_id: fields.tenant_id,
        include_unknown: fields.include_unknown,
        content: fields.content,
        max_in_flight: fields.max_in_flight,
        max_hold_seconds: fields.max_hold_seconds,
        description: fields.description,
    }
}
