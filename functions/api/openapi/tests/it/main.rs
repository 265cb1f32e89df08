//! Tests of the binary through the Runtime API: the document is complete and correct.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bulk;
mod message_templates;
mod responses;
mod subscriptions;
mod template;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::domain::event::EventType;
use common::domain::rate_limit::{Limit, Quota};
use common::http::{ApiError, Scope, ValidationError};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testing::{ApiRequest, Function, body};

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
async fn the_document_is_openapi_3_1_without_broken_references() {
    let reply = get("/openapi.json").await;
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
async fn every_operation_is_fully_described() {
    let document = document().await;
    let mut ids = BTreeSet::new();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        assert!(operation["summary"].is_string(), "{name}");
        assert!(tags.contains(&&operation["tags"][0]), "{name}");
        assert!(operation["security"].is_array(), "{name} has no security");
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
async fn every_schema_is_used_and_all_fields_are_described() {
    let document = document().await;
    let text = document.to_string();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is unused");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            // A nullable field with its own type is a `oneOf`.
            let property = if property["oneOf"].is_array() { &property["oneOf"][0] } else { property };
            let is_described = property["description"].is_string() || property["$ref"].is_string();
            assert!(is_described, "{name}.{field}: {property}");
        }
    }
}

/// One error per variant of `ApiError`.
fn errors() -> Vec<ApiError> {
    vec![
        ApiError::Validation(ValidationError::default()),
        ApiError::Unauthorized,
        ApiError::Forbidden { missing: Scope::Admin },
        ApiError::BadSignature("".into()),
        ApiError::NotFound(""),
        ApiError::MethodNotAllowed { allowed: "GET" },
        ApiError::IdempotencyConflict,
        ApiError::RecipientOptedOut,
        ApiError::Conflict("".into()),
        ApiError::PayloadTooLarge { limit: 0 },
        ApiError::RateLimited(Quota { limit: Limit::Key(0), remaining: 0, reset_seconds: 0 }),
        ApiError::internal(""),
        ApiError::unavailable(""),
        ApiError::Incomplete { done: String::new(), cause: "".into() },
    ]
}

#[tokio::test]
async fn error_responses_have_the_codes_and_statuses_of_the_api_error() {
    let document = document().await;
    let known: BTreeSet<(String, &str)> =
        errors().iter().map(|error| (error.status().as_u16().to_string(), error.code())).collect();
    for (method, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let schema = &response["content"]["application/json"]["schema"];
            if !schema.to_string().contains("ErrorEnvelope") || status == "5XX" {
                continue;
            }
            let text = response["description"].as_str().unwrap();
            let codes: Vec<&str> = text.split('`').filter(|word| word.starts_with("sms.")).collect();
            assert!(!codes.is_empty(), "{method} {path} {status}: {text}");
            for code in codes {
                assert!(known.contains(&(status.clone(), code)), "{method} {path} {status}: {code}");
            }
        }
    }
}

#[tokio::test]
async fn operations_that_need_a_key_name_their_scope() {
    let document = document().await;
    for (method, path, operation) in operations(&document) {
        let Some(scopes) = operation["security"][0]["api_key"].as_array() else { continue };
        let description = operation["description"].as_str().unwrap();
        assert_eq!(scopes.len(), 1, "{method} {path}");
        let scope = scopes[0].as_str().unwrap();
        assert!(scope.parse::<Scope>().is_ok(), "{scope}");
        assert!(description.contains(&format!("Scope: `{scope}`")), "{method} {path}");
        for status in ["401", "403", "429", "5XX"] {
            assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
        }
    }
}

#[tokio::test]
async fn every_type_of_events_is_a_webhook_with_a_schema() {
    let document = document().await;
    let webhooks = document["webhooks"].as_object().unwrap();
    let mut types: Vec<&str> = EventType::ALL.into_iter().map(EventType::as_str).collect();
    types.sort_unstable();
    assert_eq!(webhooks.keys().collect::<Vec<_>>(), types);
    for (of, item) in webhooks {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"]["type"]["enum"], json!([of]));
        let data = schema["properties"]["data"]["properties"].as_object().unwrap();
        assert!(
            !data.is_empty() && data.values().all(|field| field["description"].is_string()),
            "{of}: {data:?}"
        );
    }
}

#[tokio::test]
async fn the_page_loads_only_its_own_script() {
    let reply = get("/docs").await;
    assert_eq!(reply["headers"]["content-type"], "text/html; charset=utf-8");
    let page = reply["body"].as_str().unwrap();
    for outside in ["http://", "https://", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let sources: Vec<&str> =
        page.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(sources, ["docs/scalar.js"]);
    let policy = reply["headers"]["content-security-policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; connect-src 'self'; script-src 'self'; "), "{policy}");
}

#[tokio::test]
async fn the_script_is_compressed_and_fits_into_a_response() {
    let reply = get("/docs/scalar.js").await;
    assert_eq!(reply["headers"]["content-encoding"], "gzip");
    assert_eq!(reply["isBase64Encoded"], true);
    let body = reply["body"].as_str().unwrap();
    // Lambda's limit for a response: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html.
    assert!(body.len() < 6 * 1024 * 1024, "{}", body.len());
    let script = STANDARD.decode(body).unwrap();
    assert_eq!(script[..2], [0x1f, 0x8b], "the magic number of gzip");
}

#[tokio::test]
async fn a_request_without_a_route_is_refused_with_the_methods_of_its_path() {
    let mut function = Function::start(BINARY, &[]).await;
    for (method, path, status, allowed) in [
        ("DELETE", "/sms/send", 405, Some("POST")),
        ("TRACE", "/health", 405, Some("GET, HEAD")),
        ("OPTIONS", "/messages/1", 405, Some("GET")),
        ("POST", "/templates/1", 405, Some("GET, PUT, DELETE")),
        ("POST", "/openapi.json", 405, Some("GET, HEAD")),
        ("GET", "/openapi.yaml", 404, None),
        ("GET", "/messages/", 404, None),
        ("GET", "/messages/1/2", 404, None),
        // At function URLs.
        ("PUT", "/webhook/twilio/sms", 404, None),
        ("POST", "/events/stream", 404, None),
    ] {
        let reply = function.call(ApiRequest::new(method, path).unauthorized().event()).await;
        let message = if status == 405 { "Method Not Allowed" } else { "Not Found" };
        assert_eq!((&reply["statusCode"], body(&reply)), (&json!(status), json!({ "message": message })));
        assert_eq!(reply["headers"]["allow"].as_str(), allowed, "{method} {path}");
        assert!(reply["headers"]["x-request-id"].is_string());
    }
}

#[tokio::test]
async fn every_body_has_an_example_that_its_schema_accepts() {
    let contract = responses::Contract(document().await);
    for (method, path, operation) in operations(&contract.0) {
        let at = format!("/paths/{}/{}", path.replace('/', "~1"), method.to_lowercase());
        let mut bodies = vec![format!("{at}/requestBody")];
        let statuses = operation["responses"].as_object().unwrap().keys();
        bodies.extend(statuses.map(|status| format!("{at}/responses/{status}")));
        for pointer in bodies {
            let content = contract.0.pointer(&format!("{pointer}/content")).and_then(Value::as_object);
            for (of, content) in content.into_iter().flatten() {
                // Pages, which need none.
                if ["text/html", "text/javascript"].contains(&of.as_str()) {
                    continue;
                }
                let schema = format!("{pointer}/content/{}/schema", of.replace('/', "~1"));
                let (schema, examples) = (contract.schema(&schema), contract.examples(content));
                assert!(!examples.is_empty(), "{pointer} {of} has no example");
                for example in examples {
                    let errors: Vec<String> =
                        schema.iter_errors(example).map(|error| error.to_string()).collect();
                    assert!(errors.is_empty(), "{pointer} {of}: {errors:?} {example}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_link_names_an_operation_with_its_parameter() {
    let document = document().await;
    let mut links = 0;
    for (method, path, operation) in operations(&document) {
        for response in operation["responses"].as_object().unwrap().values() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let target =
                    operations(&document).find(|(.., other)| other["operationId"] == link["operationId"]);
                let (.., target) = target.unwrap_or_else(|| panic!("{method} {path}: {name}"));
                let known = target["parameters"].as_array().unwrap();
                for parameter in link["parameters"].as_object().unwrap().keys() {
                    assert!(
                        known.iter().any(|one| one["name"] == parameter.as_str()),
                        "{method} {path}: {name}"
                    );
                }
                links += 1;
            }
        }
    }
    assert!(links > 30, "{links}");
}
