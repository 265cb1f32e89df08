//! Links from the response that creates or finds something to the operations that use it.

use utoipa::openapi::RefOr;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::Operation;

/// A link: from an operation and its status, with a value of its response as a parameter, to operations.
type Links = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const LINKS: [Links; 12] = [
    ("send_sms", "202", "$response.body#/id", "id", &["get_message", "cancel_message"]),
    (
        "send_sms",
        "202",
        "$response.body#/to",
        "phone_number",
        &["get_conversation", "update_conversation", "list_consent", "record_consent", "erase_conversation"],
    ),
    (
        "send_bulk",
        "202",
        "$response.body#/batch_id",
        "batch_id",
        &["get_batch", "pause_batch", "resume_batch", "cancel_batch"],
    ),
    ("get_message", "200", "$response.body#/to_number", "phone_number", &["get_conversation"]),
    ("create_template", "201", "$response.body#/id", "id", TEMPLATE),
    ("list_templates", "200", "$response.body#/templates/0/id", "id", TEMPLATE),
    ("create_subscription", "201", "$response.body#/id", "id", SUBSCRIPTION),
    ("list_subscriptions", "200", "$response.body#/subscriptions/0/id", "id", SUBSCRIPTION),
    (
        "list_conversations",
        "200",
        "$response.body#/conversations/0/phone_number_canonical",
        "phone_number",
        &["get_conversation", "list_consent"],
    ),
    ("get_conversation", "200", "$response.body#/messages/0/id", "id", &["get_message"]),
    ("list_events", "200", "$response.body#/next_cursor", "after", &["list_events"]),
    (
        "record_consent",
        "201",
        "$request.path.phone_number",
        "phone_number",
        &["list_consent", "get_conversation"],
    ),
];

const TEMPLATE: &[&str] = &["get_template", "update_template", "delete_template"];
const SUBSCRIPTION: &[&str] = &[
    "get_subscription",
    "update_subscription",
    "rotate_secret",
    "test_subscription",
    "enable_subscription",
    "replay_events",
    "list_deliveries",
    "delete_subscription",
];

/// Adds the links of an operation.
pub(crate) fn add(operation: &mut Operation) {
    for (from, status, value, parameter, targets) in LINKS {
        if operation.operation_id.as_deref() != Some(from) {
            continue;
        }
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
            for target in targets {
                let link = LinkBuilder::new().operation_id(*target).parameter(parameter, value).build();
                response.links.insert((*target).to_owned(), RefOr::T(link));
            }
        }
    }
}
