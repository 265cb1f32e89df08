//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, KEY_ID, body, check_outage, environment, eventually, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_create-template");

struct World {
    function: Function,
    database: Database,
}

impl World {
    async fn start() -> Self {
        let database = Database::create().await;
        let function = Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await;
        Self { function, database }
    }

    async fn post(&mut self, payload: &Value) -> Value {
        self.function.call(post(payload).event()).await
    }

    async fn stored(&self) -> String {
        let stored = "select concat_ws(' ', (select count(*) from sms_templates), \
            (select count(*) from sms_template_versions))";
        self.database.scalar(stored).await
    }
}

fn post(payload: &Value) -> ApiRequest {
    ApiRequest::new("POST", "/templates").scopes("messages:send").json(payload)
}

#[tokio::test]
async fn a_template_is_stored_and_shown_with_its_variables_and_segments() {
    let mut world = World::start().await;
    let texts = json!({
        "en": "Hi {{name}}, the water is off on {{date}}.",
        "es": format!("Hola {{{{ name }}}}, el {{{{date}}}} no habrá agua. {}", "x".repeat(60)),
    });
    let reply = world.post(&json!({"name": "Water outage", "texts": texts})).await;
    assert_eq!(reply["statusCode"], 201, "{reply}");
    let mut created = body(&reply);
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(created["created_at"], created["updated_at"]);
    for changing in ["id", "created_at", "updated_at"] {
        created.as_object_mut().unwrap().remove(changing).unwrap();
    }
    let expected = json!({
        "name": "Water outage", "version": 1, "texts": texts, "fallback": "en", "variables": ["date", "name"],
        "segments": {"en": {"encoding": "GSM-7", "segments": 1}, "es": {"encoding": "UCS-2", "segments": 2}},
    });
    assert_eq!(created, expected);
    let row = "select concat_ws(' ', t.id, t.name, t.version, v.version, v.name, v.fallback, v.api_key_id) \
        from sms_templates t join sms_template_versions v on v.template_id = t.id";
    let expected = format!("{id} Water outage 1 1 Water outage en {KEY_ID}");
    assert_eq!(world.database.scalar(row).await, expected);
    let log = eventually("the log line of the template", async || {
        Some(json!(world.function.log().await).to_string()).filter(|log| log.contains(&id))
    })
    .await;
    assert!(!log.contains("Water") && !log.contains("Hola"), "{log}");
}

#[tokio::test]
async fn the_fallback_is_named_or_the_first_language_with_a_text() {
    let mut world = World::start().await;
    for (name, mut payload, fallback) in [
        ("a", json!({"texts": {"pt": "c", "es": "b"}}), "es"),
        ("b", json!({"texts": {"pt": "c", "en": null}, "fallback": null}), "pt"),
        ("c", json!({"texts": {"pt": "c", "es": "b", "en": "a"}, "fallback": "pt"}), "pt"),
    ] {
        payload["name"] = name.into();
        let created = body(&world.post(&payload).await);
        assert_eq!((&created["fallback"], &created["name"]), (&json!(fallback), &json!(name)), "{created}");
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_template_until_that_is_deleted() {
    let mut world = World::start().await;
    let payload = json!({"name": "Rent", "texts": {"en": "a"}});
    assert_eq!(world.post(&payload).await["statusCode"], 201);
    let reply = world.post(&payload).await;
    assert_eq!(refusal(&reply), "409 sms.conflict");
    assert_eq!(body(&reply)["error"]["message"], "another template has this name");
    assert_eq!(world.stored().await, "1 1");
    world.database.client.batch_execute("update sms_templates set deleted_at = now()").await.unwrap();
    assert_eq!(world.post(&payload).await["statusCode"], 201);
    assert_eq!(world.stored().await, "2 2");
}

#[tokio::test]
async fn all_invalid_fields_are_reported_and_nothing_is_stored() {
    let mut world = World::start().await;
    for (payload, details) in [
        (json!({}), "name: is missing\n  texts: is missing"),
        (json!({"name": "a", "texts": {}}), "texts: has no text"),
        (
            json!({
                "name": "", "texts": {"en": "Hi {{name}", "es": "a\u{0}", "fr": "b"}, "fallback": "fr",
                "id": 1,
            }),
            "name: is blank\n  fallback: must be en, es or pt\n  \
             texts.en: has {{ at character 4, which is not closed by }}\n  \
             texts.es: contains a NUL character\n  texts.fr: is not a field of this request\n  \
             id: is not a field of this request",
        ),
        (
            json!({"name": "a", "texts": {"es": "b"}, "fallback": "en"}),
            "fallback: is en, for which there is no text",
        ),
        (
            json!({"name": "a", "texts": {"pt": "ã".repeat(1601)}}),
            "texts.pt: has 1601 characters; 1600 are allowed",
        ),
    ] {
        let reply = refusal(&world.post(&payload).await);
        assert_eq!(reply, format!("400 sms.validation_error\n  {details}"), "{payload}");
    }
    for (request, response) in [
        (post(&json!({})).scopes("messages:read events:read"), "403 sms.forbidden"),
        (post(&json!({})).body("[]"), "400 sms.validation_error\n  request body: is not a JSON object"),
        (post(&json!({})).body(&"x".repeat(300_000)), "413 sms.payload_too_large"),
    ] {
        assert_eq!(refusal(&world.function.call(request.event()).await), response);
    }
    assert_eq!(world.stored().await, "0 0");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &post(&json!({"name": "a", "texts": {"en": "b"}}))).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<create_template::Config>("create-template", Duration::ZERO, environment::API);
}
