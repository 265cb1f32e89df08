//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::templates::{self, NewVersion};
use serde_json::json;
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, check_outage, environment, new_template, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_get-template");
const UNKNOWN: &str = "01900000-0000-7000-8000-00000000000c";

fn get(id: &str, query: &str) -> ApiRequest {
    let request = ApiRequest::new("GET", &format!("/templates/{id}")).path_parameter("id", id);
    request.scopes("messages:read").query(query)
}

/// Starts with a template of two versions.
async fn start() -> (Function, Database, NewVersion) {
    let database = Database::create().await;
    let first = new_template("Rent");
    templates::create(&database.db(), &first).await.unwrap().unwrap();
    let second = NewVersion { name: "Rent due".to_owned(), created_at: clock::now(), ..first.clone() };
    templates::replace(&database.db(), &second, None).await.unwrap();
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database, first)
}

#[tokio::test]
async fn the_current_version_is_returned_and_earlier_ones_stay_readable() {
    let (mut function, _database, first) = start().await;
    let id = first.id.to_string();
    let reply = function.call(get(&id, "").event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let mut current = body(&reply);
    assert_eq!(body(&function.call(get(&id, "version=2").event()).await), current);
    let earlier = body(&function.call(get(&id, "version=1").event()).await);
    let expected = json!({
        "id": id, "name": "Rent", "version": 1, "fallback": "en", "variables": ["amount", "name"],
        "texts": {"en": "Hi {{name}}, {{amount}} is due.", "es": "Hola {{name}}, debe {{amount}}."},
        "segments": {"en": {"encoding": "GSM-7", "segments": 1}, "es": {"encoding": "GSM-7", "segments": 1}},
        "created_at": first.created_at, "updated_at": first.created_at,
    });
    assert_eq!(earlier, expected);
    assert_eq!((&current["name"], &current["version"]), (&json!("Rent due"), &json!(2)));
    assert_ne!(current["updated_at"], current["created_at"]);
    for changed in ["name", "version", "updated_at"] {
        current[changed] = expected[changed].clone();
    }
    assert_eq!(current, expected);
}

#[tokio::test]
async fn a_template_a_version_or_a_deleted_template_that_is_not_there_is_404() {
    let (mut function, database, first) = start().await;
    let id = first.id.to_string();
    for request in [get(UNKNOWN, ""), get(UNKNOWN, "version=1"), get(&id, "version=3")] {
        assert_eq!(refusal(&function.call(request.event()).await), "404 sms.not_found");
    }
    assert!(templates::delete(&database.db(), first.id, clock::now()).await.unwrap());
    for query in ["", "version=1"] {
        assert_eq!(refusal(&function.call(get(&id, query).event()).await), "404 sms.not_found", "{query}");
    }
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (mut function, _database, first) = start().await;
    let id = first.id.to_string();
    for query in ["version=0", "version=x", "version=2147483648"] {
        let reply = refusal(&function.call(get(&id, query).event()).await);
        let detail = "version: must be a whole number from 1 to 2147483647";
        assert_eq!(reply, format!("400 sms.validation_error\n  {detail}"), "{query}");
    }
    for (request, response) in [
        (get("x", ""), "400 sms.validation_error\n  id: is not a UUID"),
        (get(&id, "").scopes("messages:send conversations:read"), "403 sms.forbidden"),
    ] {
        assert_eq!(refusal(&function.call(request.event()).await), response);
    }
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &get(UNKNOWN, "")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<get_template::Config>("get-template", Duration::ZERO, environment::API);
}
