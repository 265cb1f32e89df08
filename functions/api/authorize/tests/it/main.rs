//! The built binary, through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a test that can't be set up should say so and stop")]

use common::clock;
use common::db::api_keys::{self, ApiKey};
use serde_json::{Value, json};
use testing::{Database, Function, Outcome};

const BINARY: &str = env!("CARGO_BIN_EXE_authorize");

async fn start(url: &str) -> Function {
    Function::start(BINARY, &[("DATABASE_URL", url)]).await
}

fn question(authorization: &str) -> Value {
    let mut event: Value = serde_json::from_str(include_str!("../../events/request.json")).unwrap();
    event["headers"]["authorization"] = authorization.into();
    event["identitySource"] = json!([authorization]);
    event
}

/// Stores a key and returns it with its id.
async fn key(database: &Database, change: impl FnOnce(&mut ApiKey)) -> (String, String) {
    let secret = api_keys::generate();
    let mut key = ApiKey {
        id: clock::new_id(),
        name: "a workflow".to_owned(),
        scopes: "messages:send conversations:read".to_owned(),
        expires_at: None,
        revoked_at: None,
        created_at: clock::now(),
    };
    change(&mut key);
    api_keys::create(&database.db(), &key, &api_keys::hash(&secret)).await.unwrap();
    (secret, key.id.to_string())
}

#[tokio::test]
async fn a_valid_key_is_authorized_with_its_id_and_scopes() {
    let database = Database::create().await;
    let (secret, id) = key(&database, |_| {}).await;
    let mut function = start(&database.url()).await;
    for authorization in
        [format!("Bearer {secret}"), format!("bearer {secret}"), format!("BEARER  {secret} ")]
    {
        assert_eq!(
            function.call(question(&authorization)).await,
            json!({"isAuthorized": true, "context": {"key_id": id, "scopes": "messages:send conversations:read"}}),
            "{authorization}"
        );
    }
    let mut capital = question("");
    capital["headers"] = json!({"Authorization": format!("Bearer {secret}")});
    assert_eq!(function.call(capital).await["isAuthorized"], true);
    assert!(!json!(function.log().await).to_string().contains(&secret));
}

#[tokio::test]
async fn an_unknown_expired_or_revoked_key_is_not() {
    let database = Database::create().await;
    let mut function = start(&database.url()).await;
    let (expired, _) = key(&database, |key| key.expires_at = Some(clock::now())).await;
    let (revoked, id) = key(&database, |_| {}).await;
    api_keys::revoke(&database.db(), id.parse().unwrap(), clock::now()).await.unwrap();
    for secret in [expired, revoked, api_keys::generate()] {
        let answer = function.call(question(&format!("Bearer {secret}"))).await;
        assert_eq!(answer, json!({"isAuthorized": false}));
    }
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_without_asking_postgres() {
    let mut function = start("postgres://u@127.0.0.1:1/x").await;
    let key = api_keys::generate();
    let longer = format!("Bearer {key}x");
    let basic = format!("Basic {key}");
    for authorization in
        ["", "Bearer", "Bearer ", &longer, &basic, &key, "Bearer smsk_'; drop table api_keys"]
    {
        let answer = function.call(question(authorization)).await;
        assert_eq!(answer, json!({"isAuthorized": false}), "{authorization}");
    }
    assert_eq!(function.call(json!({"version": "2.0"})).await, json!({"isAuthorized": false}));
}

#[tokio::test]
async fn a_postgres_that_is_away_is_a_function_error_which_the_gateway_does_not_remember() {
    let mut function = start("postgres://u:hunter2@127.0.0.1:1/x").await;
    let outcome = function.invoke(question(&format!("Bearer {}", api_keys::generate()))).await;
    let Outcome::Error(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error["errorType"], "NotAuthorized");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_missing_environment_stops_the_function_at_start() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "the environment is not usable: DATABASE_URL is missing");
}
