//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::{api_keys, stream_tokens};
use serde_json::json;
use std::time::Duration;
use testing::{ApiRequest, Database, Function, KEY_ID, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_create-stream-token");

async fn start() -> (Function, Database) {
    let database = Database::create().await;
    let key = format!(
        "insert into api_keys (id, name, key_hash, scopes, created_at) \
         values ('{KEY_ID}', 'reader', 'hash', 'events:read', now())"
    );
    database.client.batch_execute(&key).await.unwrap();
    (Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database)
}

fn post() -> ApiRequest {
    ApiRequest::new("POST", "/events/stream-token").scopes("events:read")
}

#[tokio::test]
async fn a_token_stands_for_the_key_for_at_most_a_minute() {
    let (mut function, database) = start().await;
    let before = clock::now();
    let reply = function.call(post().event()).await;
    assert_eq!(reply["statusCode"], 201, "{reply}");
    let created = body(&reply);
    let token = created["token"].as_str().unwrap();
    let expires_at: jiff::Timestamp = created["expires_at"].as_str().unwrap().parse().unwrap();
    let valid_for = expires_at.duration_since(before).as_secs();
    assert!((60..=180).contains(&valid_for), "{valid_for}");
    let hash = api_keys::hash(token);
    let holder = stream_tokens::find_holder(&database.db(), &hash, clock::now()).await.unwrap().unwrap();
    assert_eq!((holder.id.to_string().as_str(), holder.scopes.as_str()), (KEY_ID, "events:read"));
    assert!(stream_tokens::find_holder(&database.db(), &hash, expires_at).await.unwrap().is_none());
    let log = json!(function.log().await).to_string();
    assert!(!log.contains(&token[5..]), "the token must not be in the log");
}

#[tokio::test]
async fn a_new_token_deletes_expired_ones_and_no_other() {
    let (mut function, database) = start().await;
    for _ in 0..2 {
        function.call(post().event()).await;
    }
    let expire = "update stream_tokens set expires_at = now() - interval '1 second' \
        where token_hash = (select token_hash from stream_tokens limit 1)";
    database.client.batch_execute(expire).await.unwrap();
    function.call(post().event()).await;
    let count = "select count(*), count(*) filter (where expires_at > now()) from stream_tokens";
    let row = database.client.query_one(count, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 2));
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden_and_an_unavailable_postgres_is_503() {
    let (mut function, _database) = start().await;
    let reply = function.call(post().scopes("messages:read").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
    let mut function = Function::start(BINARY, &[("DATABASE_URL", "postgres://u:p@127.0.0.1:1/x")]).await;
    assert_eq!(refusal(&function.call(post().event()).await), "503 sms.unavailable");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<create_stream_token::Config>(
        "create-stream-token",
        Duration::ZERO,
        environment::API,
    );
}
