//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::templates;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{
    ApiRequest, Database, Function, OTHER_KEY_ID, body, check_outage, connect, environment, eventually,
    new_template, refusal,
};

const BINARY: &str = env!("CARGO_BIN_EXE_update-template");
const UNKNOWN: &str = "01900000-0000-7000-8000-00000000000c";

fn put(id: &str, payload: &Value) -> ApiRequest {
    let request = ApiRequest::new("PUT", &format!("/templates/{id}")).path_parameter("id", id);
    request.scopes("messages:send").json(payload)
}

struct World {
    function: Function,
    database: Database,
    id: String,
}

impl World {
    /// Starts with the template `Rent`.
    async fn start() -> Self {
        let database = Database::create().await;
        let template = new_template("Rent");
        templates::create(&database.db(), &template).await.unwrap().unwrap();
        let function = Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await;
        Self { function, database, id: template.id.to_string() }
    }

    async fn put(&mut self, payload: &Value) -> Value {
        let request = put(&self.id, payload);
        self.function.call(request.event()).await
    }

    /// Returns the current name and version, and all stored versions.
    async fn stored(&self) -> String {
        let stored = "select concat_ws(' ', t.name, t.version, string_agg(v.version || ':' || v.name, ',' \
                order by v.version)) \
            from sms_templates t join sms_template_versions v on v.template_id = t.id \
            where t.deleted_at is null group by t.id order by t.id limit 1";
        self.database.scalar(stored).await
    }
}

#[tokio::test]
async fn every_replacement_is_a_new_version() {
    let mut world = World::start().await;
    let payload = json!({"name": "Rent due", "texts": {"pt": "Oi {{ nome }}"}});
    let reply = world.put(&payload).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let replaced = body(&reply);
    assert_ne!(replaced["updated_at"], replaced["created_at"]);
    let expected = json!({
        "id": world.id, "name": "Rent due", "version": 2, "texts": {"pt": "Oi {{ nome }}"}, "fallback": "pt",
        "variables": ["nome"], "segments": {"pt": {"encoding": "GSM-7", "segments": 1}},
        "created_at": replaced["created_at"], "updated_at": replaced["updated_at"],
    });
    assert_eq!(replaced, expected);
    assert_eq!(world.stored().await, "Rent due 2 1:Rent,2:Rent due");

    // Also with the same content, and by another key.
    let request = put(&world.id, &payload).key(OTHER_KEY_ID);
    assert_eq!(body(&world.function.call(request.event()).await)["version"], 3);
    assert_eq!(world.stored().await, "Rent due 3 1:Rent,2:Rent due,3:Rent due");
    let authors = "select count(distinct api_key_id) from sms_template_versions";
    assert_eq!(world.database.scalar(authors).await, "2");
}

#[tokio::test]
async fn a_change_of_somebody_else_is_not_overwritten() {
    let mut world = World::start().await;
    let replacement = |version: i32| json!({"name": "Rent", "texts": {"en": "a"}, "version": version});
    assert_eq!(body(&world.put(&replacement(1)).await)["version"], 2);
    for version in [1, 3] {
        let reply = world.put(&replacement(version)).await;
        assert_eq!(refusal(&reply), "409 sms.conflict");
        assert_eq!(body(&reply)["error"]["message"], "the current version is 2");
    }
    assert_eq!(world.stored().await, "Rent 2 1:Rent,2:Rent");
    assert_eq!(body(&world.put(&replacement(2)).await)["version"], 3);
}

#[tokio::test]
async fn a_name_of_another_template_is_refused_unless_that_is_deleted() {
    let mut world = World::start().await;
    let other = new_template("Water");
    templates::create(&world.database.db(), &other).await.unwrap().unwrap();
    let payload = json!({"name": "Water", "texts": {"en": "a"}});
    let reply = world.put(&payload).await;
    assert_eq!(refusal(&reply), "409 sms.conflict");
    assert_eq!(body(&reply)["error"]["message"], "another template has this name");
    assert_eq!(world.stored().await, "Rent 1 1:Rent");
    assert!(templates::delete(&world.database.db(), other.id, clock::now()).await.unwrap());
    assert_eq!(world.put(&payload).await["statusCode"], 200);
    assert_eq!(world.stored().await, "Water 2 1:Rent,2:Water");
}

#[tokio::test]
async fn a_name_that_another_template_gets_at_the_same_time_is_refused() {
    let mut world = World::start().await;
    let other = "begin; insert into sms_templates (id, name, version, created_at) \
        values (sms_new_id(), 'Water', 1, now())";
    world.database.client.batch_execute(other).await.unwrap();
    let observer = connect(&world.database.url()).await;
    let request = put(&world.id, &json!({"name": "Water", "texts": {"en": "a"}}));
    let World { function, database, .. } = &mut world;
    let commit = async {
        eventually("the replacement waits for the other transaction", async || {
            let waiting = "select 1 from pg_stat_activity \
                where wait_event_type = 'Lock' and datname = current_database() limit 1";
            observer.query_opt(waiting, &[]).await.unwrap()
        })
        .await;
        database.client.batch_execute("commit").await.unwrap();
    };
    let (reply, ()) = tokio::join!(function.call(request.event()), commit);
    assert_eq!(refusal(&reply), "409 sms.conflict");
    assert_eq!(world.stored().await, "Rent 1 1:Rent");
}

#[tokio::test]
async fn a_template_that_is_unknown_or_deleted_is_404() {
    let mut world = World::start().await;
    let payload = json!({"name": "Rent", "texts": {"en": "a"}, "version": 7});
    let reply = world.function.call(put(UNKNOWN, &payload).event()).await;
    assert_eq!(refusal(&reply), "404 sms.not_found");
    world.database.client.batch_execute("update sms_templates set deleted_at = now()").await.unwrap();
    assert_eq!(refusal(&world.put(&payload).await), "404 sms.not_found");
}

#[tokio::test]
async fn all_invalid_fields_are_reported_and_nothing_changes() {
    let mut world = World::start().await;
    for (payload, details) in [
        (json!({}), "name: is missing\n  texts: is missing"),
        (
            json!({"name": " ", "texts": {"en": "{{1}}"}, "version": 0, "id": world.id}),
            "name: is blank\n  \
             texts.en: has {{ at character 1, whose name is not 1 to 64 ASCII letters, digits or underscores, \
             starting with a letter\n  \
             version: must be a whole number from 1 to 2147483647\n  id: is not a field of this request",
        ),
    ] {
        let reply = refusal(&world.put(&payload).await);
        assert_eq!(reply, format!("400 sms.validation_error\n  {details}"), "{payload}");
    }
    let payload = json!({"name": "Rent", "texts": {"en": "a"}});
    let large = put(&world.id, &payload).body(&"x".repeat(300_000));
    for (request, response) in [
        (put("x", &payload), "400 sms.validation_error\n  id: is not a UUID"),
        (put(&world.id, &payload).scopes("messages:read"), "403 sms.forbidden"),
        (large, "413 sms.payload_too_large"),
    ] {
        assert_eq!(refusal(&world.function.call(request.event()).await), response);
    }
    assert_eq!(world.stored().await, "Rent 1 1:Rent");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &put(UNKNOWN, &json!({"name": "a", "texts": {"en": "b"}}))).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<update_template::Config>("update-template", Duration::ZERO, environment::API);
}
