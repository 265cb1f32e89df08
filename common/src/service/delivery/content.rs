//! Adds the numbers and the text of a message to its event, for subscriptions that want them.

use crate::db::deliveries::Claim;
use serde::Serialize;
use std::borrow::Cow;

#[derive(Serialize)]
struct Content<'a> {
    from_number: Option<&'a str>,
    to_number: Option<&'a str>,
    message_content: Option<&'a str>,
}

/// Returns the body of a claimed event, with the contents of its message at the end of `data` if it gets them.
/// Everything before stays as it is in the log.
pub(super) fn with_content<'a>(claim: &'a Claim, body: &'a str) -> Cow<'a, str> {
    // `data` is the last field of a body, and not empty in events about messages.
    let Some(open) = body.strip_suffix("}}").filter(|_| claim.has_content) else { return body.into() };
    let content = Content {
        from_number: claim.from_number.as_deref(),
        to_number: claim.to_number.as_deref(),
        message_content: claim.message_content.as_deref(),
    };
    let content = serde_json::to_string(&content).unwrap_or_default();
    format!("{open},{}}}", content.trim_start_matches('{')).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use serde_json::json;

    fn claim(has_content: bool) -> Claim {
        Claim {
            position: 1,
            event_id: clock::new_id(),
            conversation_id: None,
            attempts: 0,
            leased_until: clock::now(),
            body: None,
            created_at: None,
            has_content,
            from_number: Some("+12025550123".to_owned()),
            to_number: Some("+15550100".to_owned()),
            message_content: Some("{\"} \u{1F600}\n".to_owned()),
        }
    }

    #[test]
    fn contents_are_added_at_the_end_of_the_data() {
        let body = r#"{"id":"1","data":{"status":"sent","parked":false}}"#;
        let with = with_content(&claim(true), body).into_owned();
        assert!(
            with.starts_with(r#"{"id":"1","data":{"status":"sent","parked":false,"from_number":"+1202"#),
            "{with}"
        );
        let parsed: serde_json::Value = serde_json::from_str(&with).unwrap();
        let expected = json!({"status": "sent", "parked": false, "from_number": "+12025550123",
            "to_number": "+15550100", "message_content": "{\"} \u{1F600}\n"});
        assert_eq!(parsed, json!({"id": "1", "data": expected}));
    }

    #[test]
    fn erased_contents_are_null_and_other_bodies_are_unchanged() {
        let body = r#"{"data":{"a":1}}"#;
        let erased = Claim { message_content: None, ..claim(true) };
        assert!(with_content(&erased, body).ends_with(r#""message_content":null}}"#));
        assert_eq!(with_content(&claim(false), body), body);
    }
}
