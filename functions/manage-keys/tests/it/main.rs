//! Tests of the built binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::db::api_keys;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment};

const BINARY: &str = env!("CARGO_BIN_EXE_manage-keys");

async fn start(database: &Database) -> Function {
    Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await
}

async fn rejected(function: &mut Function, payload: Value) -> String {
    match function.invoke(payload).await {
        Outcome::Error(error) => error["errorMessage"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_valid_until_it_is_revoked() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let scopes = json!(["messages:send", "conversations:read", "messages:send"]);
    let created = function.call(json!({"action": "create", "name": " collections ", "scopes": scopes})).await;
    assert_eq!(created["name"], "collections");
    assert_eq!(created["scopes"], json!(["messages:send", "conversations:read"]));
    assert_eq!((&created["expires_at"], &created["revoked_at"]), (&Value::Null, &Value::Null));
    let key = created["key"].as_str().unwrap();
    let valid = async || {
        let found = api_keys::find_valid(&database.db(), &api_keys::hash(key), common::clock::now()).await;
        found.unwrap().map(|key| key.scopes)
    };
    assert_eq!(valid().await.as_deref(), Some("messages:send conversations:read"));

    let listed = function.call(json!({"action": "list"})).await;
    assert_eq!(listed["keys"][0]["id"], created["id"]);
    assert!(!listed.to_string().contains(key), "the key is not listed");
    assert!(!json!(function.log().await).to_string().contains(key), "the key is not logged");

    let revoked = function.call(json!({"action": "revoke", "id": created["id"]})).await;
    let again = function.call(json!({"action": "revoke", "id": created["id"]})).await;
    assert!(revoked["revoked_at"].is_string());
    assert_eq!(again["revoked_at"], revoked["revoked_at"], "a second revocation changes nothing");
    assert_eq!(valid().await, None);
}

#[tokio::test]
async fn a_key_is_invalid_after_it_expires() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let payload = json!({"action": "create", "name": "x", "scopes": ["admin"],
        "expires_at": "2126-01-01T00:00:00+02:00"});
    let created = function.call(payload).await;
    assert_eq!(created["expires_at"], "2125-12-31T22:00:00Z");
    let hash = api_keys::hash(created["key"].as_str().unwrap());
    let later = "2126-01-01T00:00:00Z".parse().unwrap();
    assert!(api_keys::find_valid(&database.db(), &hash, common::clock::now()).await.unwrap().is_some());
    assert!(api_keys::find_valid(&database.db(), &hash, later).await.unwrap().is_none());
}

#[tokio::test]
async fn an_invalid_payload_is_rejected_with_all_fields_and_reasons() {
    let database = Database::create().await;
    let mut function = start(&database).await;
    let unknown = "00000000-0000-0000-0000-000000000000";
    let cases = [
        (json!("list"), "invalid payload: request body is not a JSON object"),
        (json!({}), "invalid payload: action must be create, list or revoke"),
        (json!({"action": 1}), "invalid payload: action must be create, list or revoke"),
        (json!({"action": "list", "page": 1}), "invalid payload: page is not a field of this request"),
        (json!({"action": "create"}), "invalid payload: name is missing; scopes is missing"),
        (
            json!({"action": "create", "name": " ", "scopes": [], "expires_at": "2020-01-01T00:00:00Z", "key": "x"}),
            "invalid payload: name is blank; scopes is missing; expires_at has passed; \
             key is not a field of this request",
        ),
        (
            json!({"action": "create", "name": 1, "scopes": "admin", "expires_at": "tomorrow"}),
            "invalid payload: name must be a string, not a number; scopes must be a list of strings, \
             not a string; expires_at is not an instant with its offset, such as 2026-11-23T10:00:00Z",
        ),
        (
            json!({"action": "create", "name": "x", "scopes": ["admin", "messages"]}),
            "invalid payload: scopes[1] \"messages\" is not a scope; valid scopes: messages:send, \
             messages:read, conversations:read, conversations:write, events:read, subscriptions:manage, admin",
        ),
        (json!({"action": "revoke"}), "invalid payload: id is missing"),
        (json!({"action": "revoke", "id": "7"}), "invalid payload: id is not a UUID"),
        (json!({"action": "revoke", "id": unknown}), "unknown key 00000000-0000-0000-0000-000000000000"),
    ];
    for (payload, message) in cases {
        assert_eq!(rejected(&mut function, payload.clone()).await, message, "{payload}");
    }
    assert_eq!(database.scalar("select count(*) from api_keys").await, "0");
}

#[tokio::test]
async fn a_missing_variable_stops_the_function_at_startup() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "invalid configuration: DATABASE_URL is missing");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<manage_keys::Config>(
        "manage-keys",
        Duration::ZERO,
        &[environment::CONNECT, environment::STATEMENT],
    );
}
