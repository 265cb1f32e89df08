//! The fields of a request that creates or changes a subscription.

use crate::domain::event::EventType;
use crate::http::Fields;
use crate::subscribers::Destination;

/// The maximum number of event types.
const MAX_TYPES: usize = 100;
/// The maximum length of a description and of a tenant, in characters.
const MAX_DESCRIPTION: usize = 500;
const MAX_TENANT: usize = 255;
/// The longest time for which a previous secret signs too.
pub const MAX_GRACE_SECONDS: i32 = 604_800;

/// The fields that requests to create and to change a subscription have in common. `None`: not given. For a field that
/// can be cleared, `Some(None)` clears it.
#[derive(Debug, Default)]
pub struct SubscriptionFields {
    /// Where events go.
    pub destination: Option<GivenDestination>,
    /// The types; none: all.
    pub event_types: Option<Vec<EventType>>,
    /// The workflow.
    pub workflow_type: Option<Option<String>>,
    /// The tenant.
    pub tenant_id: Option<Option<String>>,
    /// Whether events of conversations without a tenant are delivered.
    pub include_unknown: Option<bool>,
    /// Whether numbers and text are added to message events.
    pub content: Option<bool>,
    /// The maximum number of deliveries at a time.
    pub max_in_flight: Option<i32>,
    /// How long a failed event holds back later ones of its conversation.
    pub max_hold_seconds: Option<i32>,
    /// What its owner calls it.
    pub description: Option<Option<String>>,
}

/// A destination, and its text as the caller wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenDestination {
    /// The destination.
    pub parsed: Destination,
    /// The URL or the ARN.
    text: String,
}

impl GivenDestination {
    /// Returns the name of its field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self.parsed {
            Destination::Url(_) => "url",
            Destination::Queue(_) => "queue_arn",
        }
    }

    /// Returns the URL and the ARN, one of which is `None`.
    #[must_use]
    pub fn columns(&self) -> (Option<String>, Option<String>) {
        match self.parsed {
            Destination::Url(_) => (Some(self.text.clone()), None),
            Destination::Queue(_) => (None, Some(self.text.clone())),
        }
    }
}

impl SubscriptionFields {
    /// Reads the fields, and records all problems.
    pub fn read(fields: &mut Fields) -> Self {
        Self {
            destination: destination(fields),
            event_types: event_types(fields, "event_types"),
            workflow_type: workflow_type(fields),
            tenant_id: text(fields, "tenant_id", MAX_TENANT),
            include_unknown: fields.flag("include_unknown"),
            content: fields.flag("content"),
            max_in_flight: fields.number("max_in_flight", 1..=100),
            max_hold_seconds: fields.number("max_hold_seconds", 0..=3_600),
            description: text(fields, "description", MAX_DESCRIPTION),
        }
    }
}

fn destination(fields: &mut Fields) -> Option<GivenDestination> {
    let (url, arn) = (fields.text("url"), fields.text("queue_arn"));
    let (field, text, parsed) = match (url, arn) {
        (Some(_), Some(_)) => {
            fields.problem("queue_arn", "cannot be given together with url");
            return None;
        }
        (Some(url), None) => ("url", url.clone(), Destination::url(&url)),
        (None, Some(arn)) => ("queue_arn", arn.clone(), Destination::queue(&arn)),
        (None, None) => return None,
    };
    let parsed = parsed.map_err(|error| fields.problem(field, error.to_string())).ok()?;
    Some(GivenDestination { parsed, text })
}

/// Reads a list of event types without duplicates.
pub fn event_types(fields: &mut Fields, name: &str) -> Option<Vec<EventType>> {
    let texts = fields.texts(name)?;
    if texts.len() > MAX_TYPES {
        fields.problem(name, format!("has more than {MAX_TYPES} entries"));
        return None;
    }
    let mut types = Vec::with_capacity(texts.len());
    let mut is_valid = true;
    for (position, text) in texts.iter().enumerate() {
        match text.parse::<EventType>() {
            Ok(of) if types.contains(&of) => {}
            Ok(of) => types.push(of),
            Err(error) => {
                fields.problem(format!("{name}[{position}]"), error.to_string());
                is_valid = false;
            }
        }
    }
    is_valid.then_some(types)
}

fn text(fields: &mut Fields, name: &str, max: usize) -> Option<Option<String>> {
    let change = fields.change(name)?;
    match &change {
        Some(text) if text.trim().is_empty() => fields.problem(name, "is blank; null clears it"),
        Some(text) if text.chars().count() > max => {
            fields.problem(name, format!("has more than {max} characters"));
        }
        _ => return Some(change),
    }
    None
}

fn workflow_type(fields: &mut Fields) -> Option<Option<String>> {
    let change = fields.change("workflow_type")?;
    if change.as_deref().is_some_and(|word| !is_name(word)) {
        // The same rule as in migrations/functions/sms_emit_events.sql.
        let rule = "must be 1 to 64 lower-case letters, digits and underscores, starting with a letter: events have \
                    no other workflow types";
        fields.problem("workflow_type", rule);
        return None;
    }
    Some(change)
}

fn is_name(word: &str) -> bool {
    word.len() <= 64
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: &str) -> String {
        let mut fields = Fields::from_slice(body.as_bytes()).unwrap();
        let _ = SubscriptionFields::read(&mut fields);
        fields.finish().sentences()
    }

    #[test]
    fn all_fields_are_read() {
        let body = r#"{"url": "https://a.example", "event_types": ["message.received", "message.status",
            "message.received"], "workflow_type": "collections", "tenant_id": null, "include_unknown": true,
            "content": false, "max_in_flight": 100, "max_hold_seconds": 0, "description": "a"}"#;
        let mut fields = Fields::from_slice(body.as_bytes()).unwrap();
        let read = SubscriptionFields::read(&mut fields);
        assert!(fields.finish().is_empty());
        let columns = read.destination.unwrap().columns();
        assert_eq!(columns, (Some("https://a.example".to_owned()), None), "as the caller wrote it");
        assert_eq!(read.event_types, Some(vec![EventType::MessageReceived, EventType::MessageStatus]));
        assert_eq!(read.workflow_type, Some(Some("collections".to_owned())));
        assert_eq!((read.tenant_id, read.description), (Some(None), Some(Some("a".to_owned()))));
        assert_eq!((read.include_unknown, read.content), (Some(true), Some(false)));
        assert_eq!((read.max_in_flight, read.max_hold_seconds), (Some(100), Some(0)));
    }

    #[test]
    fn every_invalid_field_is_named_with_its_reason() {
        let types = format!("{{\"event_types\": [{}]}}", vec!["\"message.status\""; 101].join(","));
        let long = format!("{{\"description\": \"{}\"}}", "x".repeat(501));
        let workflow = "workflow_type must be 1 to 64 lower-case letters, digits and underscores, starting with a \
                        letter: events have no other workflow types";
        for (body, expected) in [
            (r#"{"url": 1}"#, "url must be a string, not a number"),
            (r#"{"url": "https://a.example/#b"}"#, "url must not contain a fragment (#)"),
            (r#"{"url": "a.example"}"#, "url must be an https URL: relative URL without a base"),
            (
                r#"{"queue_arn": "events"}"#,
                "queue_arn must be the ARN of an SQS queue: arn:aws:sqs:<region>:<account>:<name>",
            ),
            (
                r#"{"url": "https://a.example/", "queue_arn": "x"}"#,
                "queue_arn cannot be given together with url",
            ),
            (r#"{"event_types": "message.status"}"#, "event_types must be a list of strings, not a string"),
            (r#"{"event_types": ["message.status", "x"]}"#, "event_types[1] \"x\" is not an event type"),
            (&types, "event_types has more than 100 entries"),
            (r#"{"workflow_type": "Collections"}"#, workflow),
            (r#"{"workflow_type": ""}"#, workflow),
            (r#"{"tenant_id": " "}"#, "tenant_id is blank; null clears it"),
            (r#"{"include_unknown": "true"}"#, "include_unknown must be true or false, not a string"),
            (r#"{"content": 1}"#, "content must be true or false, not a number"),
            (r#"{"max_in_flight": 0}"#, "max_in_flight must be a whole number from 1 to 100"),
            (r#"{"max_hold_seconds": 3601}"#, "max_hold_seconds must be a whole number from 0 to 3600"),
            (&long, "description has more than 500 characters"),
            (r#"{"secret": "x"}"#, "secret is not a field of this request"),
        ] {
            assert_eq!(problems(body), expected, "{body}");
        }
    }
}
