//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testing::{ApiRequest, Database, Function, body, environment, eventually, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_list-events");
const NOT_A_CURSOR: &str = "400 sms.validation_error\n  after: is not a next_cursor of this API";

struct World {
    function: Function,
    database: Database,
}

impl World {
    /// Starts with conversations 1 to 3. The first has a tenant, the second a workflow.
    async fn start() -> Self {
        let database = Database::create().await;
        let rows = "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, \
                tenant_id, workflow_type, created_at) \
             select lpad(n::text, 32, '0')::uuid, 'AC1', '+1203555000' || n, '203', case when n = 1 then 't-1' end, \
                case when n = 2 then 'leasing' end, now() from generate_series(1, 3) n";
        database.client.batch_execute(rows).await.unwrap();
        Self { function: Function::start(BINARY, &[("DATABASE_URL", &database.url())]).await, database }
    }

    /// Writes events of a type, one for each conversation.
    async fn emit(&self, of: &str, conversations: &[u8]) {
        let ids: Vec<String> =
            conversations.iter().map(|n| format!("'{}'::uuid", conversation(*n))).collect();
        let (count, ids) = (ids.len(), ids.join(","));
        let sql = format!(
            "select sms_emit_events(array_fill('{of}'::text, array[{count}]), array[{ids}], \
                array_fill(null::uuid, array[{count}]), \
                array_fill('{{\"b\":1.50,  \"a\":\"\\u00e9\"}}'::text, array[{count}]), '2026-11-01T12:00:00.1Z')"
        );
        self.database.client.batch_execute(&sql).await.unwrap();
    }

    async fn get(&mut self, query: &str) -> Value {
        self.function.call(get(query).event()).await
    }

    async fn page(&mut self, query: &str) -> Value {
        let reply = self.get(query).await;
        assert_eq!(reply["statusCode"], 200, "{query}: {reply}");
        body(&reply)
    }

    /// Reads all pages, and returns the conversations and sequences of the events.
    async fn all(&mut self, query: &str) -> Vec<String> {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.page(&format!("{query}{after}")).await;
            seen.extend(events(&page));
            after = format!("&after={}", page["next_cursor"].as_str().unwrap());
            if page["has_more"] == false {
                return seen;
            }
        }
    }
}

fn get(query: &str) -> ApiRequest {
    ApiRequest::new("GET", "/events").scopes("events:read").query(query)
}

fn conversation(n: u8) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

/// Returns the events of a page as `conversation.sequence`.
fn events(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap().iter();
    events
        .map(|event| {
            let id = event["conversation_id"].as_str().unwrap();
            format!("{}.{}", id.trim_start_matches(['0', '-']), event["conversation_sequence"])
        })
        .collect()
}

#[tokio::test]
async fn pages_contain_every_event_once_in_order_and_an_empty_log_has_a_cursor() {
    let mut world = World::start().await;
    let empty = world.page("").await;
    assert_eq!((&empty["events"], &empty["has_more"]), (&json!([]), &json!(false)));
    let start = empty["next_cursor"].as_str().unwrap().to_owned();
    world.emit("message.received", &[1, 2, 3]).await;
    world.emit("message.status", &[2, 1]).await;
    let all = ["1.1", "2.1", "3.1", "1.2", "2.2"];
    for limit in [1, 2, 5, 1000] {
        assert_eq!(world.all(&format!("limit={limit}")).await, all, "{limit}");
    }
    let first = world.page(&format!("after={start}&limit=3")).await;
    assert_eq!(
        (events(&first), &first["has_more"]),
        (all[..3].iter().copied().map(str::to_owned).collect(), &json!(true))
    );
    let next = first["next_cursor"].as_str().unwrap().to_owned();
    let second = world.page(&format!("after={next}")).await;
    assert_eq!(
        (events(&second), &second["has_more"]),
        (vec!["1.2".to_owned(), "2.2".to_owned()], &json!(false))
    );
    // The end of the log is a cursor too.
    let end = second["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(world.page(&format!("after={end}")).await["next_cursor"], end.as_str());
}

#[tokio::test]
async fn an_event_is_the_stored_text_byte_by_byte() {
    let mut world = World::start().await;
    world.emit("message.status", &[1]).await;
    let first = world.get("").await["body"].as_str().unwrap().to_owned();
    let stored = world.database.scalar("select body from sms_events").await;
    assert!(
        stored.contains(r#""timestamp":"2026-11-01T12:00:00.1Z""#)
            && stored.ends_with(r#""data":{"b":1.50,  "a":"\u00e9"}}"#)
    );
    assert!(first.starts_with(&format!(r#"{{"events":[{stored}],"next_cursor":""#)), "{first}");
    assert_eq!(world.get("").await["body"].as_str(), Some(first.as_str()));
}

#[tokio::test]
async fn filters_select_events_and_the_cursor_passes_the_others() {
    let mut world = World::start().await;
    world.emit("message.received", &[1, 2, 3]).await;
    world.emit("contact.opted_out", &[1, 2]).await;
    world.emit("message.status", &[3]).await;
    let of_two = format!("conversation={}", conversation(2));
    for (query, expected) in [
        ("types=contact.opted_out", &["1.2", "2.2"][..]),
        ("types=contact.opted_out,message.status", &["1.2", "2.2", "3.2"]),
        ("types=message.failed", &[]),
        ("tenant_id=t-1", &["1.1", "1.2"]),
        ("tenant_id=t-2", &[]),
        ("workflow_type=leasing", &["2.1", "2.2"]),
        (&of_two, &["2.1", "2.2"]),
        ("tenant_id=t-1&types=message.received", &["1.1"]),
    ] {
        assert_eq!(world.all(&format!("limit=1&{query}")).await, expected, "{query}");
    }
    let none = world.page("tenant_id=t-2").await;
    assert_eq!((&none["events"], &none["has_more"]), (&json!([]), &json!(false)));
    let cursor = none["next_cursor"].as_str().unwrap().to_owned();
    world.emit("message.status", &[3]).await;
    assert_eq!(events(&world.page(&format!("after={cursor}")).await), ["3.3"]);
}

#[tokio::test]
async fn invalid_parameters_are_refused_with_all_reasons() {
    let mut world = World::start().await;
    world.emit("message.status", &[1]).await;
    let cursor = world.page("").await["next_cursor"].as_str().unwrap().to_owned();
    let digits = "99999999999999999999";
    let all = format!("after={digits}&types=x&conversation=1&wait={digits}&limit={digits}&tenant_id=");
    let details = "400 sms.validation_error\n  \
        types: must be event types, separated by commas: \"x\" is not an event type\n  \
        tenant_id: is empty\n  conversation: must be a conversation_id\n  after: is not a next_cursor of this API\n  \
        wait: must be a whole number from 0 to 20\n  limit: must be a whole number from 1 to 1000";
    assert_eq!(refusal(&world.get(&all).await), details);
    // A cursor of another log, which is longer.
    world.database.client.batch_execute("update sms_event_counter set last_position = 0").await.unwrap();
    assert_eq!(refusal(&world.get(&format!("after={cursor}")).await), NOT_A_CURSOR);
}

#[tokio::test]
async fn a_request_that_waits_gets_an_event_soon_after_its_commit_and_holds_no_transaction() {
    let mut world = World::start().await;
    let writer = testing::connect(&world.database.url()).await;
    let name = world.database.scalar("select current_database()").await;
    let observer = testing::connect(&world.database.url()).await;
    let emit = format!(
        "select sms_emit_events('{{message.status}}', array['{}'::uuid], '{{null}}', '{{\"{{}}\"}}', now())",
        conversation(1)
    );
    let writing = async {
        // The function waits: its connection is idle, without a transaction.
        let idle = "select count(*) from pg_stat_activity where datname = $1 and state = 'idle'
            and query like '%sms_number_events%'";
        let open = "select count(*) from pg_stat_activity where datname = $1 and state like 'idle in%'";
        eventually("a request that waits", async || {
            let row = observer.query_one(idle, &[&name]).await.unwrap();
            (row.get::<_, i64>(0) > 0).then_some(())
        })
        .await;
        for _ in 0..20 {
            assert_eq!(observer.query_one(open, &[&name]).await.unwrap().get::<_, i64>(0), 0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        writer.batch_execute(&emit).await.unwrap();
        Instant::now()
    };
    let reading = async { (world.page("wait=20").await, Instant::now()) };
    let (committed, (page, received)) = tokio::join!(writing, reading);
    assert_eq!(events(&page), ["1.1"]);
    assert!(received.duration_since(committed) < Duration::from_secs(10));
}

#[tokio::test]
async fn a_request_without_an_event_ends_after_its_wait() {
    let mut world = World::start().await;
    world.emit("message.status", &[1]).await;
    let begun = Instant::now();
    let page = world.page("wait=1&types=message.failed").await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((&page["events"], &page["has_more"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let mut world = World::start().await;
    let reply = world.function.call(get("").scopes("messages:read conversations:read").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let variables = [("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    assert_eq!(refusal(&function.call(get("wait=20").event()).await), "503 sms.unavailable");
    assert!(!json!(function.log().await).to_string().contains("hunter2"));
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let log = Function::start(BINARY, &[("EVENTS_POLL_MAX_MS", "0")]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: EVENTS_POLL_MAX_MS must be between 50 and 10000; DATABASE_URL is missing"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    let wait = Duration::from_secs(list_events::MAX_WAIT_SECONDS.into());
    environment::check::<list_events::Config>("list-events", wait, environment::API);
}
