//! Who may open a stream.

use super::{BINARY, World, get, key};
use common::clock;
use common::db::{api_keys, stream_tokens};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testing::{ApiRequest, Function, refusal};

const NOT_AUTHORIZED: &str = "401 sms.unauthorized";

impl World {
    async fn refused(&mut self, request: &ApiRequest) -> String {
        refusal(&self.function.call(request.event()).await)
    }

    /// Stores a token of a key.
    async fn token(&self, key: &str, expires_at: Timestamp) -> String {
        let (db, now, token) = (self.database.db(), clock::now(), stream_tokens::generate());
        let holder = api_keys::find_valid(&db, &api_keys::hash(key), now).await.unwrap().unwrap();
        stream_tokens::create(&db, &api_keys::hash(&token), holder.id, expires_at, now).await.unwrap();
        token
    }
}

fn with_key(key: &str) -> ApiRequest {
    get("").header("authorization", &format!("Bearer {key}"))
}

fn with_token(token: &str) -> ApiRequest {
    get(&format!("token={token}"))
}

fn in_seconds(seconds: i64) -> Timestamp {
    clock::now() + SignedDuration::from_secs(seconds)
}

#[tokio::test]
async fn only_a_valid_key_with_the_scope_opens_a_stream() {
    let mut world = World::start(&[("EVENTS_STREAM_MAX_MS", "100")]).await;
    let unknown = api_keys::generate();
    for request in [get(""), get("").header("authorization", ""), with_key("x"), with_key(&unknown)] {
        assert_eq!(world.refused(&request).await, NOT_AUTHORIZED, "{request:?}");
    }
    // What a caller writes where a gateway's authorizer would write does not exist at a function URL, but an event
    // with it must not open a stream either.
    let pretended = ApiRequest::new("GET", "/events/stream").scopes("admin");
    assert_eq!(world.refused(&pretended).await, NOT_AUTHORIZED);
    let other = key(&world.database, "messages:read subscriptions").await;
    assert_eq!(world.refused(&with_key(&other)).await, "403 sms.forbidden");
    let admin = key(&world.database, "admin").await;
    for allowed in [&admin, &world.key.clone()] {
        assert_eq!(world.function.call(with_key(allowed).event()).await["statusCode"], 200);
    }
    for change in ["expires_at = now() - interval '1 second'", "revoked_at = now()"] {
        world.database.client.batch_execute(&format!("update api_keys set {change}")).await.unwrap();
        assert_eq!(world.refused(&with_key(&admin)).await, NOT_AUTHORIZED, "{change}");
        world
            .database
            .client
            .batch_execute("update api_keys set expires_at = null, revoked_at = null")
            .await
            .unwrap();
    }
    assert_eq!(world.function.call(with_key(&admin).event()).await["statusCode"], 200);
}

#[tokio::test]
async fn a_token_opens_streams_until_it_expires_and_while_its_key_is_valid() {
    let mut world = World::start(&[("EVENTS_STREAM_MAX_MS", "100")]).await;
    let own = world.key.clone();
    let token = world.token(&own, in_seconds(60)).await;
    for _ in 0..2 {
        let reply = world.function.call(with_token(&token).event()).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
    }
    let expired = world.token(&own, in_seconds(-1)).await;
    for wrong in [expired.as_str(), &stream_tokens::generate(), "", "x", &own] {
        assert_eq!(world.refused(&with_token(wrong)).await, NOT_AUTHORIZED, "{wrong}");
    }
    // A key in the header counts, whatever the query has; and a token is not a key.
    let both = with_token(&token).header("authorization", "Bearer x");
    assert_eq!(world.refused(&both).await, NOT_AUTHORIZED);
    assert_eq!(world.refused(&with_key(&token)).await, NOT_AUTHORIZED);
    let other = key(&world.database, "messages:read").await;
    let of_other = world.token(&other, in_seconds(60)).await;
    assert_eq!(world.refused(&with_token(&of_other)).await, "403 sms.forbidden");
    world.database.client.batch_execute("update api_keys set revoked_at = now()").await.unwrap();
    assert_eq!(world.refused(&with_token(&token)).await, NOT_AUTHORIZED);
}

#[tokio::test]
async fn a_token_is_not_stored_and_not_logged() {
    let mut world = World::start(&[("EVENTS_STREAM_MAX_MS", "100")]).await;
    let own = world.key.clone();
    let token = world.token(&own, in_seconds(60)).await;
    world.function.call(with_token(&token).event()).await;
    let stored = world.database.scalar("select stream_tokens::text from stream_tokens").await;
    assert!(!stored.contains(&token[5..]), "{stored}");
    let log = json!(world.function.log().await).to_string();
    assert!(log.contains("stream ended") && !log.contains(&token[5..]), "{log}");
}

#[tokio::test]
async fn invalid_requests_are_refused_with_all_reasons() {
    let mut world = World::start(&[]).await;
    let all = "after=1&types=x&conversation=1&tenant_id=";
    let fields = "\n  types: must be event types, separated by commas: \"x\" is not an event type\
        \n  tenant_id: is empty\n  conversation: must be a conversation_id";
    let not_a_cursor = "is not a next_cursor of this API";
    let request = world.get(all);
    let expected = format!("400 sms.validation_error{fields}\n  after: {not_a_cursor}");
    assert_eq!(world.refused(&request).await, expected);
    let expected = format!("400 sms.validation_error{fields}\n  Last-Event-ID: {not_a_cursor}");
    assert_eq!(world.refused(&request.header("last-event-id", "1")).await, expected);
    let bearer = format!("Bearer {}", world.key);
    for (method, path, expected) in [
        ("POST", "/events/stream", "405 sms.method_not_allowed"),
        ("GET", "/", "404 sms.not_found"),
        ("GET", "/events", "404 sms.not_found"),
    ] {
        let request = ApiRequest::new(method, path).unauthorized().header("authorization", &bearer);
        assert_eq!(world.refused(&request).await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let variables = [("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    let reply = function.call(with_key(&api_keys::generate()).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    // What cannot be a key needs no query.
    assert_eq!(refusal(&function.call(with_key("x").event()).await), NOT_AUTHORIZED);
    assert!(!json!(function.log().await).to_string().contains("hunter2"));
}
