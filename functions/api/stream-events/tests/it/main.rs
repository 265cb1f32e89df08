//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod access;
mod resume;

use common::clock;
use common::db::api_keys::{self, ApiKey};
use serde_json::Value;
use std::time::{Duration, Instant};
use testing::{ApiRequest, Database, Function, SseClient, Streamed, environment, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_stream-events");

struct World {
    function: Function,
    database: Database,
    key: String,
}

impl World {
    /// Starts with conversations 1 to 3, of which the first has a tenant, and a key that may read events.
    async fn start(variables: &[(&str, &str)]) -> Self {
        let database = Database::create().await;
        let rows = "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, \
                tenant_id, created_at) \
             select lpad(n::text, 32, '0')::uuid, 'AC1', '+1203555000' || n, '203', case when n = 1 then 't-1' end, \
                now() from generate_series(1, 3) n";
        database.client.batch_execute(rows).await.unwrap();
        let key = key(&database, "events:read").await;
        Self { function: Self::function(&database, variables).await, database, key }
    }

    async fn function(database: &Database, variables: &[(&str, &str)]) -> Function {
        let url = database.url();
        let all: Vec<_> = [("DATABASE_URL", url.as_str())].iter().chain(variables).copied().collect();
        Function::start(BINARY, &all).await
    }

    /// Writes an event of a type for a conversation.
    async fn emit(&self, of: &str, conversation: u8) {
        self.database.client.batch_execute(&emit(of, conversation)).await.unwrap();
    }

    fn get(&self, query: &str) -> ApiRequest {
        get(query).header("authorization", &format!("Bearer {}", self.key))
    }

    /// Opens a stream that resumes after the client's last event.
    async fn open(&mut self, query: &str, client: &SseClient) -> Streamed {
        let request = self.get(query).header("last-event-id", &client.last_event_id);
        let streamed = self.function.stream(request.event()).await;
        assert_eq!(streamed.head["statusCode"], 200, "{:?}", streamed.head);
        streamed
    }

    /// Returns the bodies of the log.
    async fn log(&self) -> Vec<String> {
        let rows =
            self.database.client.query("select body from sms_events order by position", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Stores a key with these scopes.
async fn key(database: &Database, scopes: &str) -> String {
    let secret = api_keys::generate();
    let key = ApiKey {
        id: clock::new_id(),
        name: "reader".to_owned(),
        scopes: scopes.to_owned(),
        expires_at: None,
        revoked_at: None,
        created_at: clock::now(),
    };
    api_keys::create(&database.db(), &key, &api_keys::hash(&secret)).await.unwrap();
    secret
}

fn get(query: &str) -> ApiRequest {
    ApiRequest::new("GET", "/events/stream").unauthorized().query(query)
}

fn emit(of: &str, conversation: u8) -> String {
    format!(
        "select sms_emit_events(array['{of}'], array['00000000-0000-0000-0000-{conversation:012}'::uuid], \
            '{{null}}', array['{{\"b\":1.50,  \"a\":\"\\u00e9\"}}'], '2026-11-01T12:00:00.1Z')"
    )
}

/// Reads until the client has this number of events.
async fn read(streamed: &mut Streamed, client: &mut SseClient, events: usize) {
    while client.events.len() < events {
        // The stream has ended if there is none.
        client.push(&streamed.next().await.unwrap().unwrap());
    }
}

/// Reads to the end of the stream.
async fn finish(mut streamed: Streamed, client: &mut SseClient) {
    while let Some(chunk) = streamed.next().await.unwrap() {
        client.push(&chunk);
    }
    client.disconnect();
}

#[tokio::test]
async fn events_of_the_log_and_new_ones_arrive_with_cursor_type_and_unchanged_body() {
    let mut world = World::start(&[]).await;
    world.emit("message.received", 1).await;
    let mut client = SseClient::default();
    let mut streamed = world.open("", &client).await;
    let headers = &streamed.head["headers"];
    assert_eq!(
        (&headers["content-type"], &headers["cache-control"]),
        (&"text/event-stream".into(), &"no-store".into())
    );
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(headers["x-request-id"], testing::GATEWAY_REQUEST_ID);
    read(&mut streamed, &mut client, 1).await;
    assert_eq!(client.retry, Some(1000));
    // The stream waits.
    world.emit("contact.opted_out", 2).await;
    read(&mut streamed, &mut client, 2).await;
    let types: Vec<&str> = client.events.iter().map(|event| event.of.as_str()).collect();
    assert_eq!(types, ["message.received", "contact.opted_out"]);
    let bodies: Vec<&str> = client.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(bodies, world.log().await);
    assert!(bodies[0].ends_with(r#""data":{"b":1.50,  "a":"\u00e9"}}"#), "{}", bodies[0]);
    // An id is also a cursor in the query.
    let after = format!("after={}", client.events[0].id);
    let mut other = SseClient::default();
    world.function = World::function(&world.database, &[]).await;
    let mut streamed = world.open(&after, &other).await;
    read(&mut streamed, &mut other, 1).await;
    assert_eq!(other.events, client.events[1..]);
}

#[tokio::test]
async fn filters_select_events_and_the_last_id_passes_the_others() {
    let variables = [("EVENTS_STREAM_HEARTBEAT_MS", "50"), ("EVENTS_STREAM_MAX_MS", "800")];
    let mut world = World::start(&variables).await;
    for conversation in 1..=3 {
        world.emit("message.received", conversation).await;
    }
    world.emit("contact.opted_out", 1).await;
    let mut client = SseClient::default();
    finish(world.open("tenant_id=t-1&types=contact.opted_out", &client).await, &mut client).await;
    assert_eq!(client.events.len(), 1);
    assert_eq!(client.events[0].data, world.log().await[3]);
    let mut client = SseClient::default();
    finish(world.open("types=message.failed", &client).await, &mut client).await;
    assert_eq!(client.events, []);
    // Without an event, the client resumes at the end of the log.
    let end = client.last_event_id.clone();
    assert!(!end.is_empty());
    world.emit("message.status", 3).await;
    finish(world.open("", &client).await, &mut client).await;
    let bodies: Vec<&str> = client.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(bodies, world.log().await[4..]);
}

#[tokio::test]
async fn a_stream_without_events_has_heartbeats_and_ends_before_the_timeout() {
    let variables = [("EVENTS_STREAM_HEARTBEAT_MS", "100"), ("EVENTS_STREAM_MAX_MS", "1500")];
    let mut world = World::start(&variables).await;
    let (begun, mut client) = (Instant::now(), SseClient::default());
    finish(world.open("", &client).await, &mut client).await;
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    assert!((2..=15).contains(&client.comments), "{}", client.comments);
    assert_eq!((client.events.len(), client.last_event_id.as_str()), (0, ""));
    let line = last_line(&world).await;
    assert_eq!((&line["reason"], &line["events"]), (&"complete".into(), &0.into()));
    assert_eq!(line["request_id"], testing::GATEWAY_REQUEST_ID);
    // The same process handles the next request.
    world.emit("message.received", 1).await;
    finish(world.open("", &client).await, &mut client).await;
    assert_eq!(client.events.len(), 1);
}

async fn last_line(world: &World) -> Value {
    eventually("the last line of the stream", async || {
        world.function.log().await.into_iter().find(|line| line["message"] == "stream ended")
    })
    .await
}

#[tokio::test]
async fn no_transaction_is_open_and_no_statement_runs_while_a_stream_waits() {
    let mut world = World::start(&[]).await;
    let name = world.database.scalar("select current_database()").await;
    let observer = testing::connect(&world.database.url()).await;
    let client = SseClient::default();
    let mut streamed = world.open("", &client).await;
    streamed.next().await.unwrap();
    let idle = "select count(*) from pg_stat_activity where datname = $1 and state = 'idle'
        and query like '%sms_number_events%'";
    eventually("a stream that waits", async || {
        (observer.query_one(idle, &[&name]).await.unwrap().get::<_, i64>(0) > 0).then_some(())
    })
    .await;
    let open = "select count(*) from pg_stat_activity where datname = $1 and state like 'idle in%'";
    for _ in 0..20 {
        assert_eq!(observer.query_one(open, &[&name]).await.unwrap().get::<_, i64>(0), 0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stream_continues_after_an_outage_of_postgres() {
    let variables = [("EVENTS_STREAM_HEARTBEAT_MS", "100"), ("DATABASE_CONNECT_TIMEOUT_MS", "500")];
    let mut world = World::start(&variables).await;
    let mut client = SseClient::default();
    let mut streamed = world.open("", &client).await;
    let name = world.database.scalar("select current_database()").await;
    // A session cannot close its own database.
    let server = testing::connect(&std::env::var("TEST_DATABASE_URL").unwrap()).await;
    let refuse = format!("alter database \"{name}\" allow_connections false");
    server.batch_execute(&refuse).await.unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1
        and query like '%sms_number_events%'";
    server.execute(end, &[&name]).await.unwrap();
    let failed = "could not read events: the stream continues";
    eventually("the outage is noticed", async || {
        world.function.log().await.iter().any(|line| line["message"] == failed).then_some(())
    })
    .await;
    let comments = client.comments;
    while client.comments < comments + 5 {
        client.push(&streamed.next().await.unwrap().unwrap());
    }
    server.batch_execute(&format!("alter database \"{name}\" allow_connections true")).await.unwrap();
    world.emit("message.received", 1).await;
    read(&mut streamed, &mut client, 1).await;
    assert_eq!(client.events[0].of, "message.received");
}

#[tokio::test]
async fn a_stream_ends_when_the_log_is_shorter_than_before() {
    let mut world = World::start(&[]).await;
    world.emit("message.received", 1).await;
    let mut client = SseClient::default();
    let mut streamed = world.open("", &client).await;
    read(&mut streamed, &mut client, 1).await;
    world.database.client.batch_execute("update sms_event_counter set last_position = 0").await.unwrap();
    finish(streamed, &mut client).await;
    assert_eq!(last_line(&world).await["reason"], "the log was restored");
    let request = world.get("").header("last-event-id", &client.last_event_id);
    let refused = world.function.call(request.event()).await;
    let expected = "400 sms.validation_error\n  Last-Event-ID: is not a next_cursor of this API";
    assert_eq!(testing::refusal(&refused), expected);
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_fails_and_counts() {
    let mut world = World::start(&[]).await;
    let mut client = SseClient::default();
    let streamed = world.open("", &client).await;
    world.database.client.batch_execute("alter table sms_events_pending rename to elsewhere").await.unwrap();
    finish(streamed, &mut client).await;
    assert_eq!(last_line(&world).await["reason"], "failed");
    assert_eq!(world.function.metric("api_failures").await, 1.0);
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let variables = [
        ("EVENTS_POLL_MAX_MS", "0"),
        ("EVENTS_STREAM_MAX_MS", "x"),
        ("EVENTS_STREAM_HEARTBEAT_MS", "0"),
        ("EVENTS_STREAM_RETRY_MS", "0"),
    ];
    let log = Function::start(BINARY, &variables).await.ended().await;
    let error = log.last().unwrap()["error"].as_str().unwrap().to_owned();
    for (name, _) in variables.iter().chain(&[("DATABASE_URL is missing", "")]) {
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    let end: &[environment::Wait] = &[("EVENTS_STREAM_MAX_MS", 1)];
    // After the end, the last chunk may wait for the client for a second.
    environment::check::<stream_events::Config>("stream-events", Duration::from_secs(1), end);
    // A stream begins after it has connected, and verified the key, numbered events and read.
    let begin: &[environment::Wait] = &[environment::CONNECT, ("DATABASE_STATEMENT_TIMEOUT_MS", 4)];
    environment::check::<stream_events::Config>("stream-events", Duration::ZERO, begin);
}
