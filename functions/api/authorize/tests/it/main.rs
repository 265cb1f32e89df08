//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::api_keys::{self, ApiKey};
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment, eventually};

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
async fn null_is_read_like_an_absent_value() {
    let database = Database::create().await;
    let mut function = start(&database.url()).await;
    let mut event = question("");
    for name in ["headers", "pathParameters", "queryStringParameters", "requestContext", "stageVariables"] {
        event[name] = Value::Null;
    }
    assert_eq!(function.call(event).await["isAuthorized"], false);
}

#[tokio::test]
async fn an_unknown_expired_or_revoked_key_is_refused() {
    let database = Database::create().await;
    let mut function = start(&database.url()).await;
    let (expired, _) = key(&database, |key| key.expires_at = Some(clock::now())).await;
    let (revoked, id) = key(&database, |_| {}).await;
    api_keys::revoke(&database.db(), id.parse().unwrap(), clock::now()).await.unwrap();
    for secret in [expired, revoked, api_keys::generate()] {
        let response = function.call(question(&format!("Bearer {secret}"))).await;
        assert_eq!(response, json!({"isAuthorized": false}));
    }
}

#[tokio::test]
async fn a_malformed_key_is_refused_without_a_query() {
    let mut function = start("postgres://u@127.0.0.1:1/x").await;
    let key = api_keys::generate();
    let longer = format!("Bearer {key}x");
    let basic = format!("Basic {key}");
    for authorization in
        ["", "Bearer", "Bearer ", &longer, &basic, &key, "Bearer smsk_'; drop table api_keys"]
    {
        let response = function.call(question(authorization)).await;
        assert_eq!(response, json!({"isAuthorized": false}), "{authorization}");
    }
    assert_eq!(function.call(json!({"version": "2.0"})).await, json!({"isAuthorized": false}));
}

#[tokio::test]
async fn a_key_is_unverified_while_postgres_is_unavailable() {
    let mut function = start("postgres://u:hunter2@127.0.0.1:1/x").await;
    let response = function.call(question(&format!("Bearer {}", api_keys::generate()))).await;
    assert_eq!(response, json!({"isAuthorized": true, "context": {"unverified": true}}));
    assert_eq!(function.metric_of("errors", "unavailable").await, 1.0);
    assert!(!json!(function.log().await).to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_cached_key_stays_valid_until_it_expires_while_postgres_is_unavailable() {
    let database = Database::create().await;
    let (lasting, id) = key(&database, |_| {}).await;
    let (refused, refused_id) = key(&database, |_| {}).await;
    api_keys::revoke(&database.db(), refused_id.parse().unwrap(), clock::now()).await.unwrap();
    let url = database.url();
    let mut function =
        Function::start(BINARY, &[("DATABASE_URL", &url), ("DATABASE_BUDGET_MS", "500")]).await;
    let good = json!({"isAuthorized": true, "context": {"key_id": id, "scopes": "messages:send conversations:read"}});
    let no = json!({"isAuthorized": false});
    for (secret, verdict) in [(&lasting, &good), (&refused, &no)] {
        wait_for_verdict(&mut function, secret, verdict).await;
    }
    let ending = good_for_a_moment(&database, &mut function).await;
    database.client.batch_execute("alter table api_keys rename to api_keys_hidden").await.unwrap();
    eventually("the query fails because of the missing table", async || {
        let outcome = function.invoke(question(&format!("Bearer {lasting}"))).await;
        // Until Postgres responds in time that the key is unknown.
        assert!(
            matches!(&outcome, Outcome::Error(_))
                || matches!(&outcome, Outcome::Response(response) if *response == good)
        );
        matches!(outcome, Outcome::Error(_)).then_some(())
    })
    .await;
    database.client.batch_execute("alter table api_keys_hidden rename to api_keys").await.unwrap();

    database.client.batch_execute("begin; lock table api_keys in access exclusive mode").await.unwrap();
    assert_eq!(function.call(question(&format!("Bearer {lasting}"))).await, good);
    let unverified = json!({"isAuthorized": true, "context": {"unverified": true}});
    assert_eq!(function.call(question(&format!("Bearer {refused}"))).await, no);
    assert_eq!(function.call(question(&format!("Bearer {}", api_keys::generate()))).await, unverified);
    wait_for_verdict(&mut function, &ending, &unverified).await;
}

#[tokio::test]
async fn a_key_is_trusted_only_while_it_is_cached() {
    let database = Database::create().await;
    let (secret, id) = key(&database, |_| {}).await;
    let url = database.url();
    let variables = [("DATABASE_URL", &*url), ("DATABASE_BUDGET_MS", "500"), ("KEY_CACHE_SECONDS", "30")];
    let mut function = Function::start(BINARY, &variables).await;
    let good = json!({"isAuthorized": true, "context": {"key_id": id, "scopes": "messages:send conversations:read"}});
    wait_for_verdict(&mut function, &secret, &good).await;
    database.client.batch_execute("begin; lock table api_keys in access exclusive mode").await.unwrap();
    assert_eq!(function.call(question(&format!("Bearer {secret}"))).await, good, "the key is cached");
    // An expired cache entry makes the key unverified, and the endpoint verifies it.
    wait_for_verdict(&mut function, &secret, &json!({"isAuthorized": true, "context": {"unverified": true}}))
        .await;
}

#[tokio::test]
async fn a_refused_key_is_cached_and_each_refusal_is_one_log_line() {
    let database = Database::create().await;
    let mut function = start(&database.url()).await;
    let unknown = format!("Bearer {}", api_keys::generate());
    let no = json!({"isAuthorized": false});
    assert_eq!(function.call(question(&unknown)).await, no);
    // From now on every query fails.
    database.client.batch_execute("alter table api_keys rename to elsewhere").await.unwrap();
    for _ in 0..4 {
        assert_eq!(function.call(question(&unknown)).await, no);
    }
    let lines = eventually("each refusal is logged", async || {
        Some(function.log().await).filter(|lines| lines.len() >= 5)
    })
    .await;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert_eq!(function.metric_of("errors", "unauthorized").await, 1.0);
    for line in &lines {
        assert_eq!(
            (&line["message"], &line["keys_refused"]),
            (&json!("API key rejected"), &json!(1.0)),
            "{line}"
        );
        assert!(line["request_id"].is_string() && line["reason"].is_string(), "{line}");
    }
    assert!(!json!(lines).to_string().contains(&unknown[7..]));
}

#[tokio::test]
async fn a_malformed_key_opens_no_connection() {
    let postgres = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    postgres.set_nonblocking(true).unwrap();
    let url = format!("postgres://u@127.0.0.1:{}/x", postgres.local_addr().unwrap().port());
    let mut function = start(&url).await;
    for authorization in ["", "Bearer nonsense", "Bearer smsk_short"] {
        assert_eq!(function.call(question(authorization)).await, json!({"isAuthorized": false}));
    }
    assert!(postgres.accept().is_err(), "a connection was opened");
}

/// Repeats until the authorizer returns this result, because Postgres may be slow.
async fn wait_for_verdict(function: &mut Function, secret: &str, verdict: &Value) {
    eventually("the verdict", async || {
        (function.call(question(&format!("Bearer {secret}"))).await == *verdict).then_some(())
    })
    .await;
}

/// Creates a key that expires soon, and has the function cache it.
async fn good_for_a_moment(database: &Database, function: &mut Function) -> String {
    // On a slow machine the shorter times may pass before the function runs.
    for seconds in [1, 4, 16, 64] {
        let end = clock::now() + Duration::from_secs(seconds);
        let (secret, id) = key(database, |key| key.expires_at = Some(end)).await;
        let response = function.call(question(&format!("Bearer {secret}"))).await;
        if response["context"]["key_id"] == id.as_str() {
            return secret;
        }
    }
    panic!("the key expired before the function ran");
}

#[tokio::test]
async fn a_missing_configuration_stops_the_function_at_start() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(log.last().unwrap()["error"], "invalid configuration: DATABASE_URL is missing");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<authorize::Config>("authorize", Duration::ZERO, &[("DATABASE_BUDGET_MS", 1)]);
}
