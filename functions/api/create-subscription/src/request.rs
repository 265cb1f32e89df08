//! The request body.

use common::clock;
use common::config::Secret;
use common::db::subscriptions;
use common::domain::event::EventType;
use common::http::{Fields, Principal, ValidationError};
use common::service::subscription::{GivenDestination, SubscriptionFields};
use serde::Serialize;
use utoipa::ToSchema;

/// Default of `max_in_flight`.
const MAX_IN_FLIGHT: i32 = 10;
/// Default of `max_hold_seconds`.
const MAX_HOLD_SECONDS: i32 = 300;

/// A new subscription. Either `url` or `queue_arn` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://collections.example/sms-events", "event_types": ["message.received"]}))]
pub struct NewSubscription {
    /// https URL that events are posted to, with public addresses only.
    #[schema(max_length = 2048, format = "uri")]
    pub url: Option<String>,
    /// ARN of an SQS queue instead of a URL. This service's role must be allowed to send to it.
    #[schema(example = "arn:aws:sqs:us-east-1:123456789012:sms-events")]
    pub queue_arn: Option<String>,
    /// Types of events; an empty list means all types.
    #[schema(value_type = Vec<EventType>, max_items = 100)]
    pub event_types: Vec<String>,
    /// Only events of this workflow.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9_]{0,63}$")]
    pub workflow_type: Option<String>,
    /// Only events of this tenant.
    #[schema(min_length = 1, max_length = 255)]
    pub tenant_id: Option<String>,
    /// Whether events of numbers without a tenant are delivered. Default: false.
    pub include_unknown: Option<bool>,
    /// Whether `from_number`, `to_number` and `message_content` are added to the data of message events. Default:
    /// false.
    pub content: Option<bool>,
    /// Maximum number of deliveries at a time. Default: 10.
    #[schema(minimum = 1, maximum = 100)]
    pub max_in_flight: Option<i32>,
    /// Seconds that a failed event holds back later events of its conversation. Default: 300.
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
pub(crate) fn parse(body: &[u8]) -> Result<(GivenDestination, SubscriptionFields), ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let mut read = SubscriptionFields::read(&mut fields);
    if read.event_types.is_none() {
        fields.missing("event_types");
    }
    let destination = read.destination.take();
    if destination.is_none() && !fields.has_problem("queue_arn") {
        fields.missing("url");
    }
    fields.finish_with(destination.map(|destination| (destination, read)))
}

/// Returns the subscription that is stored.
pub(crate) fn subscription(
    destination: &GivenDestination,
    fields: SubscriptionFields,
    caller: &Principal,
    secret: &Secret,
) -> subscriptions::NewSubscription {
    let (url, queue_arn) = destination.columns();
    subscriptions::NewSubscription {
        id: clock::new_id().into(),
        api_key_id: caller.key_id,
        url,
        queue_arn,
        event_types: fields.event_types.unwrap_or_default(),
        workflow_type: fields.workflow_type.flatten(),
        tenant_id: fields.tenant_id.flatten(),
        include_unknown: fields.include_unknown.unwrap_or(false),
        content: fields.content.unwrap_or(false),
        max_in_flight: fields.max_in_flight.unwrap_or(MAX_IN_FLIGHT),
        max_hold_seconds: fields.max_hold_seconds.unwrap_or(MAX_HOLD_SECONDS),
        description: fields.description.flatten(),
        secret: secret.clone(),
        created_at: clock::now(),
    }
}
