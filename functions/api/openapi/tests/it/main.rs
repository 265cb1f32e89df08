//! The built binary, through the Runtime API: the document is whole, and true.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod answers;
mod template;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use testing::{ApiRequest, Function, body, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_openapi");

async fn get(path: &str) -> Value {
    Function::start(BINARY, &[]).await.call(ApiRequest::new("GET", path).unauthorized().event()).await
}

async fn document() -> Value {
    body(&get("/openapi.json").await)
}

/// The document's operations: `(method, path, operation)`.
fn operations(document: &Value) -> impl Iterator<Item = (String, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(|(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

/// Walks through every object in a value.
fn objects<'a>(value: &'a Value, visit: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|value| objects(value, visit));
        }
        Value::Array(entries) => entries.iter().for_each(|value| objects(value, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_openapi_3_1_whose_references_lead_somewhere() {
    let event: Value = serde_json::from_str(include_str!("../../events/request.json")).unwrap();
    let reply = Function::start(BINARY, &[]).await.call(event).await;
    assert_eq!(
        (&reply["statusCode"], &reply["headers"]["content-type"]),
        (&json!(200), &json!("application/json"))
    );
    let document = body(&reply);
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    objects(&document, &mut |map| references.extend(map.get("$ref").and_then(Value::as_str)));
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_operation_is_described_whole() {
    let document = document().await;
    let mut ids = BTreeSet::new();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        assert!(operation["summary"].is_string(), "{name}");
        assert!(tags.contains(&&operation["tags"][0]), "{name}");
        assert!(operation["security"].is_array(), "{name} says who may call it");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} {status}");
            assert!(response["headers"]["x-request-id"].is_object(), "{name} {status}");
        }
        let in_path = path.matches('{').count();
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let declared = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, declared, "{name}");
        for parameter in parameters {
            assert!(parameter["description"].is_string(), "{name} {}", parameter["name"]);
        }
    }
}

#[tokio::test]
async fn every_field_of_every_schema_is_described_and_none_is_left_over() {
    let document = document().await;
    let text = document.to_string();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is used");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            // A field that may be null and has a type of its own is one of two.
            let property = if property["oneOf"].is_array() { &property["oneOf"][0] } else { property };
            let is_described = property["description"].is_string() || property["$ref"].is_string();
            assert!(is_described, "{name}.{field}: {property}");
        }
    }
}

#[tokio::test]
async fn scopes_stand_where_a_key_is_needed() {
    let document = document().await;
    for (method, path, operation) in operations(&document) {
        let Some(scopes) = operation["security"][0]["api_key"].as_array() else { continue };
        let description = operation["description"].as_str().unwrap();
        assert_eq!(scopes.len(), 1, "{method} {path}");
        let scope = scopes[0].as_str().unwrap();
        assert!(scope.parse::<common::http::Scope>().is_ok(), "{scope}");
        assert!(description.contains(&format!("Scope: `{scope}`")), "{method} {path}");
        for status in ["401", "403", "default"] {
            assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
        }
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere_and_may_run_nothing_else() {
    for path in ["/docs", "/docs/"] {
        let reply = get(path).await;
        assert_eq!(reply["headers"]["content-type"], "text/html; charset=utf-8");
        let page = reply["body"].as_str().unwrap();
        for outside in ["http://", "https://", "src=", "@import", "url(", "{{"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let policy = reply["headers"]["content-security-policy"].as_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; connect-src 'self'; "), "{policy}");
        for tag in ["style", "script"] {
            let inline = page.split(&format!("<{tag}>")).nth(1).unwrap();
            let inline = inline.split(&format!("</{tag}>")).next().unwrap();
            let hash = STANDARD.encode(Sha256::digest(inline));
            assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{tag}");
        }
    }
}

#[tokio::test]
async fn another_path_is_not_found() {
    assert_eq!(refusal(&get("/openapi.yaml").await), "404 sms.not_found");
}
