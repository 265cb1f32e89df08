//! Compares the document with the life of a message template: responses of the five endpoints, one after the other.

use super::document;
use super::responses::{Contract, start};
use serde_json::{Value, json};
use testing::{ApiRequest, Database, body};

const UNKNOWN: &str = "01900000-0000-7000-8000-000000000001";

#[tokio::test]
async fn responses_of_templates_match_the_document() {
    let contract = Contract(document().await);
    let database = Database::create().await;
    let url = database.url();
    let environment = [("DATABASE_URL", url.as_str())];

    let mut create = start("create-template", &environment).await;
    let whole =
        json!({"name": "Rent", "texts": {"en": "Hi {{name}}", "es": "Hola {{name}}"}, "fallback": "es"});
    let mut id = String::new();
    for (payload, status) in [
        (json!({"name": "Water", "texts": {"pt": "Oi"}}), 201),
        (whole.clone(), 201),
        (whole.clone(), 409),
        (json!({}), 400),
    ] {
        let reply = create.call(ApiRequest::new("POST", "/templates").json(&payload).event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1templates/post", &reply);
        if status == 201 {
            id = body(&reply)["id"].as_str().unwrap().to_owned();
        }
    }

    let mut list = start("list-templates", &environment).await;
    for (query, status) in [("", 200), ("limit=1", 200), ("limit=0", 400)] {
        let reply = list.call(ApiRequest::new("GET", "/templates").query(query).event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1templates/get", &reply);
    }

    let mut update = start("update-template", &environment).await;
    let (mut stale, mut taken) = (whole.clone(), whole.clone());
    stale["version"] = 1.into();
    taken["name"] = "Water".into();
    for (id, payload, status) in [
        (id.as_str(), &whole, 200),
        (&id, &stale, 409),
        (&id, &taken, 409),
        (&id, &json!({}), 400),
        ("x", &whole, 400),
        (UNKNOWN, &whole, 404),
    ] {
        let request = ApiRequest::new("PUT", "/templates/x").path_parameter("id", id).json(payload);
        let reply = update.call(request.event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1templates~1{id}/put", &reply);
    }

    let mut get = start("get-template", &environment).await;
    for (id, query, status) in [
        (id.as_str(), "", 200),
        (&id, "version=1", 200),
        (&id, "version=3", 404),
        (&id, "version=x", 400),
        ("x", "", 400),
        (UNKNOWN, "", 404),
    ] {
        let request = ApiRequest::new("GET", "/templates/x").path_parameter("id", id).query(query);
        let reply = get.call(request.event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        contract.check("~1templates~1{id}/get", &reply);
    }

    let mut delete = start("delete-template", &environment).await;
    for (id, status) in [("x", 400), (UNKNOWN, 404), (&id, 204), (&id, 404)] {
        let request = ApiRequest::new("DELETE", "/templates/x").path_parameter("id", id);
        let reply = delete.call(request.event()).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        if status != 204 {
            contract.check("~1templates~1{id}/delete", &reply);
        }
    }
}

#[tokio::test]
async fn the_schemas_of_a_template_accept_and_refuse_what_the_functions_do() {
    let contract = Contract(document().await);
    let schema =
        |path: &str| contract.schema(&format!("/paths/{path}/requestBody/content/application~1json/schema"));
    let (new, replacement) = (schema("~1templates/post"), schema("~1templates~1{id}/put"));
    let whole = json!({"name": "Rent", "texts": {"en": "a", "es": null, "pt": "b"}, "fallback": "pt"});
    assert!(new.is_valid(&whole) && replacement.is_valid(&whole));
    assert!(new.is_valid(&json!({"name": "Rent", "texts": {"es": "a"}})), "fallback is optional");
    for (field, wrong) in [
        ("name", json!(1)),
        ("name", json!("")),
        ("name", json!("x".repeat(256))),
        ("name", Value::Null),
        ("texts", json!("a")),
        ("texts", json!({"fr": "a"})),
        ("texts", json!({"en": ""})),
        ("texts", json!({"en": "x".repeat(1601)})),
        ("fallback", json!("fr")),
        ("version", json!(0)),
        ("id", json!("x")),
    ] {
        let mut payload = whole.clone();
        payload[field] = wrong;
        assert!(!new.is_valid(&payload) && !replacement.is_valid(&payload), "{field}");
    }
    let mut expected = whole.clone();
    expected["version"] = 1.into();
    assert!(replacement.is_valid(&expected) && !new.is_valid(&expected));
}
