//! Requests that are refused as a whole.

use super::{TENANT, World, bulk};
use serde_json::{Value, json};
use testing::{ApiRequest, refusal};

fn one(field: &str, reason: &str) -> String {
    format!("400 sms.validation_error\n  {field}: {reason}")
}

#[tokio::test]
async fn an_invalid_request_names_the_field_and_the_reason() {
    let mut world = World::start().await;
    let message = json!({"to": TENANT, "body": "x"});
    let recipient = json!({"to": TENANT});
    let cases: Vec<(Value, String)> = vec![
        (json!({}), one("messages", "is missing, and there are no recipients")),
        (json!({"messages": []}), one("messages", "is empty")),
        (json!({"messages": "x"}), one("messages", "must be a list, not a string")),
        (
            json!({"messages": [message], "recipients": [recipient], "texts": {"en": "x"}}),
            one("recipients", "can't be combined with messages"),
        ),
        (
            json!({"messages": [message], "texts": {"en": "x"}}),
            one("messages", "can't be combined with template_id or texts"),
        ),
        (json!({"recipients": [recipient]}), one("texts", "is missing, and there is no template_id")),
        (
            json!({"recipients": [recipient], "template_id": "01900000-0000-7000-8000-0000000000aa"}),
            one("template_id", "does not exist"),
        ),
        (json!({"recipients": [recipient], "template_id": "x"}), one("template_id", "is not a UUID")),
        (json!({"messages": [message], "send_at": "2020-01-01T00:00:00Z"}), one("send_at", "has passed")),
        (
            json!({"messages": [message], "from": "+12035559999"}),
            one("from", "is not a configured number or messaging service"),
        ),
        (json!({"messages": [message], "batch_id": "x"}), one("batch_id", "is not a UUID")),
        (
            json!({"messages": [message], "priority": "now"}),
            one("priority", "must be urgent, normal or bulk"),
        ),
        (json!({"messages": [message], "extra": 1}), one("extra", "is not a field of this request")),
        (
            json!({"messages": [message], "dry_run": "yes"}),
            one("dry_run", "must be true or false, not a string"),
        ),
    ];
    for (payload, expected) in cases {
        assert_eq!(world.refused(&payload).await, expected, "{payload}");
    }
    assert_eq!(world.rows("sms_messages").await, "0");
}

#[tokio::test]
async fn a_missing_scope_is_403_and_a_body_that_is_too_large_413() {
    let mut world = World::start().await;
    let payload = json!({"messages": [{"to": TENANT, "body": "x"}]});
    let reader = ApiRequest::new("POST", "/sms/bulk").scopes("messages:read").json(&payload);
    assert_eq!(refusal(&world.function.call(reader.event()).await), "403 sms.forbidden");
    let large = bulk(&json!({"messages": [{"to": TENANT, "body": "x".repeat(5_000_000)}]}));
    assert_eq!(refusal(&world.function.call(large.event()).await), "413 sms.payload_too_large");
    let broken = ApiRequest::new("POST", "/sms/bulk").scopes("messages:send").body("{");
    assert_eq!(
        refusal(&world.function.call(broken.event()).await),
        one("request body", "is not JSON: EOF while parsing an object at line 1 column 1")
    );
}
