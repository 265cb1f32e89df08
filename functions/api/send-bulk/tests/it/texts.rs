//! One text per language, from the request or from a template.

use super::{TENANT, World, errors};
use serde_json::{Value, json};

fn texts() -> Value {
    json!({
        "en": "Hi {{name}}, {{amount}} is due.",
        "es": "Hola {{name}}: {{amount}}.",
        "pt": "Olá {{name}}: {{amount}}.",
    })
}

fn recipient(to: &str, language: Option<&str>) -> Value {
    json!({"to": to, "variables": {"name": "Ana", "amount": 1200.50}, "language": language})
}

/// Returns the stored messages as `number language text`.
async fn stored(world: &World) -> String {
    let sql = "select string_agg(
            concat_ws(' ', right(to_number, 1), language, message_content), E'\\n' order by to_number)
        from sms_messages where direction = 'outbound'";
    world.database.scalar(sql).await
}

#[tokio::test]
async fn the_language_is_that_of_the_request_the_conversation_the_tenant_or_the_fallback() {
    let mut world = World::start().await;
    world
        .database
        .client
        .batch_execute("insert into sms_tenants (tenant_id, language_preference) values ('t-1', 'pt')")
        .await
        .unwrap();
    world.conversation("+12035550121", ", language_detected, tenant_id", ", 'es', 't-1'").await;
    world.conversation("+12035550122", ", language_detected, tenant_id", ", 'es', 't-1'").await;
    world.conversation("+12035550123", ", tenant_id", ", 't-1'").await;
    let response = world
        .accepted(&json!({"texts": texts(), "fallback": "es", "recipients": [
            recipient("+12035550121", Some("en")),
            recipient("+12035550122", None),
            recipient("+12035550123", None),
            recipient("+12035550124", None),
        ]}))
        .await;
    assert_eq!(response["accepted"], 4, "{response}");
    assert_eq!(
        stored(&world).await,
        "1 en Hi Ana, 1200.5 is due.\n2 es Hola Ana: 1200.5.\n3 pt Olá Ana: 1200.5.\n4 es Hola Ana: 1200.5."
    );
}

#[tokio::test]
async fn a_missing_variable_is_an_error_of_the_whole_request() {
    let mut world = World::start().await;
    let payload = json!({"texts": texts(), "recipients": [
        recipient(TENANT, None),
        {"to": "+12035550124", "variables": {"name": "Tom"}},
        {"to": "+12035550125"},
    ]});
    assert_eq!(
        world.refused(&payload).await,
        "400 sms.validation_error\n  recipients[1].variables.amount: is missing\n  \
         recipients[2].variables.amount: is missing\n  recipients[2].variables.name: is missing"
    );
    assert_eq!(world.rows("sms_messages").await, "0");
}

#[tokio::test]
async fn a_wrong_recipient_is_reported_and_does_not_stop_the_others() {
    let mut world = World::start().await;
    let response = world
        .accepted(&json!({"texts": {"en": "Hi {{name}}"}, "recipients": [
            {"to": TENANT, "variables": {"name": "Ana"}},
            {"to": "+12035550124", "variables": {"name": ["x"]}},
            {"to": "+12035550125", "variables": {"name": "x"}, "language": "fr"},
            {"to": "+12035550126", "variables": {"name": "x".repeat(1600)}},
            {"to": "+12035550123", "variables": {"name": "Ana"}},
        ]}))
        .await;
    assert_eq!(
        errors(&response),
        [
            "1 sms.validation_error variables.name: must be a string, not a list",
            "2 sms.validation_error language: must be en, es or pt",
            "3 sms.validation_error variables: make the en text longer than 1600 characters",
            "4 sms.conflict",
        ]
    );
}

#[tokio::test]
async fn a_template_is_used_in_its_current_or_in_an_earlier_version() {
    let mut world = World::start().await;
    let template = world.template().await;
    let recipients = json!([{"to": TENANT, "variables": {"name": "Ana"}, "language": "es"}]);
    world.accepted(&json!({"template_id": template, "recipients": recipients})).await;
    world.accepted(&json!({"template_id": template, "template_version": 1, "recipients": recipients})).await;
    let sql = "select string_agg(message_content, ' | ' order by created_at) from sms_messages";
    assert_eq!(world.database.scalar(sql).await, "Hola 2 Ana | Hola 1 Ana");
    let unknown = json!({"template_id": template, "template_version": 3, "recipients": recipients});
    assert_eq!(world.refused(&unknown).await, "400 sms.validation_error\n  template_version: does not exist");
}
