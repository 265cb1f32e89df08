//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::templates;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, check_outage, environment, new_template, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_list-templates");

fn get(query: &str) -> ApiRequest {
    ApiRequest::new("GET", "/templates").scopes("messages:read").query(query)
}

fn names(page: &Value) -> Vec<&str> {
    let listed = page["templates"].as_array().unwrap().iter();
    listed.map(|template| template["name"].as_str().unwrap()).collect()
}

/// Starts with five templates and a deleted one. One of the five has two versions.
async fn start() -> (Function, Database) {
    let database = Database::create().await;
    let db = database.db();
    for name in ["a", "b", "deleted", "c", "d", "e"] {
        let new = new_template(name);
        templates::create(&db, &new).await.unwrap().unwrap();
        if name == "deleted" {
            assert!(templates::delete(&db, new.id, clock::now()).await.unwrap());
        }
        if name == "b" {
            let changed = templates::NewVersion { name: "b changed".to_owned(), ..new };
            templates::replace(&db, &changed, Some(1)).await.unwrap();
        }
    }
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

#[tokio::test]
async fn the_current_versions_of_all_templates_are_listed_newest_first() {
    let (mut function, _database) = start().await;
    let listed = body(&function.call(get("").event()).await);
    assert_eq!(names(&listed), ["e", "d", "c", "b changed", "a"]);
    assert_eq!((listed.as_object().unwrap().len(), &listed["next_cursor"]), (2, &Value::Null));
    let template = &listed["templates"][3];
    assert_eq!((&template["version"], &template["fallback"]), (&json!(2), &json!("en")));
    assert_eq!(template["variables"], json!(["amount", "name"]));
    assert_eq!(template["texts"]["es"], "Hola {{name}}, debe {{amount}}.");
}

#[tokio::test]
async fn pages_contain_every_template_once() {
    let (mut function, database) = start().await;
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = body(&function.call(get(&query).event()).await);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        // A template that is created meanwhile moves no page.
        templates::create(&database.db(), &new_template(&query)).await.unwrap();
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["e", "d", "c", "b changed", "a"]);
}

#[tokio::test]
async fn a_page_has_twenty_templates_by_default_and_a_hundred_at_most() {
    let database = Database::create().await;
    for n in 0..101 {
        templates::create(&database.db(), &new_template(&n.to_string())).await.unwrap();
    }
    let mut function = Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await;
    for (query, listed) in [("", 20), ("limit=100", 100), ("limit=1", 1)] {
        let page = body(&function.call(get(query).event()).await);
        assert_eq!(names(&page).len(), listed, "{query}");
        assert!(page["next_cursor"].is_string(), "{query}");
    }
}

#[tokio::test]
async fn without_templates_the_list_is_empty() {
    let database = Database::create().await;
    let mut function = Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await;
    let listed = body(&function.call(get("").event()).await);
    assert_eq!(listed, json!({"templates": [], "next_cursor": null}));
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let (mut function, _database) = start().await;
    let reply = refusal(&function.call(get("cursor=1&limit=101").event()).await);
    let details = "cursor: is not a next_cursor of this API\n  limit: must be a whole number from 1 to 100";
    assert_eq!(reply, format!("400 sms.validation_error\n  {details}"));
    let reply = refusal(&function.call(get("").scopes("messages:send").event()).await);
    assert_eq!(reply, "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    check_outage(BINARY, &get("")).await;
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<list_templates::Config>("list-templates", Duration::ZERO, environment::API);
}
