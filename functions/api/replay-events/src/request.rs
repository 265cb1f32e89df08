//! The request body.

use common::clock;
use common::domain::event::EventType;
use common::http::{Fields, ValidationError};
use common::service::events::Cursor;
use common::service::subscription::event_types;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Which events are replayed. Either `since` or `after` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"since": "2026-11-01T12:00:00Z", "types": ["message.received"]}))]
pub struct ReplayRequest {
    /// Events that were written at this time or later, RFC 3339. A few earlier events can be among them.
    pub since: Option<Timestamp>,
    /// Events after this cursor of `GET /events`.
    pub after: Option<String>,
    /// Only these types, of those of the subscription. Default: all.
    #[schema(value_type = Option<Vec<EventType>>, max_items = 100)]
    pub types: Option<Vec<String>>,
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this time.
    Since(Timestamp),
    /// After this place in the log.
    After(Cursor),
}

/// Parses the request body.
///
/// # Errors
///
/// [`ValidationError`] with all invalid fields.
pub(crate) fn parse(body: &[u8]) -> Result<(Start, Vec<EventType>), ValidationError> {
    let mut fields = Fields::from_slice(body)?;
    let types = event_types(&mut fields, "types").unwrap_or_default();
    let start = start(&mut fields);
    fields.finish_with(start.map(|start| (start, types)))
}

fn start(fields: &mut Fields) -> Option<Start> {
    let has_both = fields.has("since") && fields.has("after");
    let since = fields.instant("since");
    let after = fields.text("after").and_then(|text| {
        text.parse::<Cursor>().map_err(|error| fields.problem("after", error.to_string())).ok()
    });
    match (since, after) {
        _ if has_both => fields.problem("after", "cannot be given together with since"),
        (Some(since), _) if since > clock::now() => fields.problem("since", "is in the future"),
        // Nothing is older than 1970.
        (Some(since), _) => return Some(Start::Since(since.max(Timestamp::UNIX_EPOCH))),
        (None, Some(after)) => return Some(Start::After(after)),
        (None, None) if fields.has_problem("after") => {}
        (None, None) => fields.missing("since"),
    }
    None
}

/// Checks that a subscription has the types.
///
/// # Errors
///
/// [`ValidationError`] with the first type that it does not have.
pub(crate) fn check_types(types: &[EventType], of: &[EventType]) -> Result<(), ValidationError> {
    match types.iter().find(|wanted| !of.is_empty() && !of.contains(wanted)) {
        Some(wanted) => {
            Err(ValidationError::field("types", format!("{wanted} is not a type of this subscription")))
        }
        None => Ok(()),
    }
}
