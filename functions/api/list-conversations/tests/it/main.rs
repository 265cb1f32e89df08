//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_list-conversations");

struct World {
    function: Function,
    database: Database,
}

impl World {
    /// Starts with conversations 1 to `count`, active 20 minutes apart in this order.
    async fn with_conversations(count: usize) -> Self {
        let database = Database::create().await;
        let rows = format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, tenant_id, \
                workflow_type, language_detected, opted_out_at, created_at, last_message_at) \
             select lpad(n::text, 32, '0')::uuid, 'AC1', '+1203555' || lpad(n::text, 4, '0'), '203555' || n, \
                case when n % 2 = 0 then 't-' || n % 4 end, case when n % 3 = 0 then 'collections' end, \
                case n % 4 when 0 then 'en' when 1 then 'es' when 2 then 'pt' else 'unknown' end, \
                case when n % 5 = 0 then now() end, '2026-10-01T12:00:00Z', \
                '2026-11-01T12:00:00Z'::timestamptz + n * interval '20 minutes' \
             from generate_series(1, {count}) n"
        );
        database.client.batch_execute(&rows).await.unwrap();
        let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", &database.url())];
        Self { function: Function::start(BINARY, &variables).await, database }
    }

    async fn run(&self, sql: &str) {
        self.database.client.batch_execute(sql).await.unwrap();
    }

    async fn get(&mut self, query: &str) -> Value {
        self.function.call(get(query).event()).await
    }

    async fn page(&mut self, query: &str) -> Value {
        let reply = self.get(query).await;
        assert_eq!(reply["statusCode"], 200, "{query}: {reply}");
        body(&reply)
    }

    /// Reads all pages and returns the numbers of the conversations in their order.
    async fn all(&mut self, query: &str) -> Vec<usize> {
        let first = self.page(query).await;
        let mut seen = numbers(&first);
        seen.extend(self.rest(query, &first).await);
        seen
    }

    /// Reads the pages after a page.
    async fn rest(&mut self, query: &str, page: &Value) -> Vec<usize> {
        let (mut seen, mut next) = (Vec::new(), page["next_cursor"].clone());
        while let Some(cursor) = next.as_str() {
            let page = self.page(&format!("{query}&cursor={cursor}")).await;
            seen.extend(numbers(&page));
            next = page["next_cursor"].clone();
        }
        seen
    }
}

fn get(query: &str) -> ApiRequest {
    ApiRequest::new("GET", "/conversations").scopes("conversations:read").query(query)
}

fn numbers(page: &Value) -> Vec<usize> {
    let conversations = page["conversations"].as_array().unwrap().iter();
    conversations
        .map(|one| one["phone_number_canonical"].as_str().unwrap()["+1203555".len()..].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_conversation_has_exactly_the_fields_of_the_contract() {
    let mut world = World::with_conversations(2).await;
    let page = world.page("limit=1").await;
    assert!(page["next_cursor"].is_string());
    assert_eq!(page["limit"], 1);
    assert_eq!(
        page["conversations"],
        json!([{
            "phone_number_canonical": "+12035550002", "phone_number_original": "2035552",
            "conversation_id": "00000000-0000-0000-0000-000000000002",
            "tenant_id": "t-2", "tenant_candidates": null, "workflow_type": null, "workflow_id": null,
            "conversation_status": "open", "time_zone": null, "language_detected": "pt", "language_confidence": 0.0,
            "opted_out": false, "carrier_blocked_at": null, "number_deactivated_at": null,
            "last_message_at": "2026-11-01T12:40:00Z", "total": 0,
        }])
    );
}

#[tokio::test]
async fn every_filter_and_their_combination_list_the_matching_conversations_by_activity() {
    let mut world = World::with_conversations(60).await;
    let matching = |keep: fn(usize) -> bool| (1..=60).rev().filter(|n| keep(*n)).collect::<Vec<_>>();
    let since = |n: usize| n >= 40;
    for (query, expected) in [
        ("", matching(|_| true)),
        ("tenant_id=t-2", matching(|n| n % 4 == 2)),
        ("tenant_id=t-9", vec![]),
        ("workflow_type=collections", matching(|n| n % 3 == 0)),
        ("language=en", matching(|n| n % 4 == 0)),
        ("language=es", matching(|n| n % 4 == 1)),
        ("language=pt", matching(|n| n % 4 == 2)),
        ("language=unknown", matching(|n| n % 4 == 3)),
        ("unknown=true", matching(|n| n % 2 == 1)),
        ("unknown=false", matching(|n| n % 2 == 0)),
        ("opted_out=true", matching(|n| n % 5 == 0)),
        ("opted_out=false", matching(|n| n % 5 != 0)),
        ("since=2026-11-02T01:20:00Z", matching(since)),
        ("since=2026-11-02T01:20:00.000001Z", matching(|n| n > 40)),
        ("since=0001-01-01T00:00:00Z", matching(|_| true)),
        ("unknown=false&opted_out=false&workflow_type=collections", matching(|n| n % 6 == 0 && n % 5 != 0)),
        ("language=pt&tenant_id=t-2&since=2026-11-02T01:20:00Z", matching(|n| n % 4 == 2 && n >= 40)),
    ] {
        for limit in [1, 7, 100] {
            assert_eq!(world.all(&format!("{query}&limit={limit}")).await, expected, "{query} {limit}");
        }
    }
}

#[tokio::test]
async fn conversations_with_the_same_activity_are_listed_once_each() {
    let mut world = World::with_conversations(25).await;
    world.run("update sms_conversations set last_message_at = '2026-11-01T12:30:00Z'").await;
    assert_eq!(world.all("limit=4").await, (1..=25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_conversation_without_messages_is_listed_by_its_creation() {
    let mut world = World::with_conversations(3).await;
    world
        .run(
            "update sms_conversations set last_message_at = null, created_at = '2026-11-01T12:50:00Z' \
              where phone_number_canonical = '+12035550001'",
        )
        .await;
    assert_eq!(world.all("limit=1").await, [3, 1, 2]);
    assert_eq!(world.page("limit=2").await["conversations"][1]["last_message_at"], Value::Null);
}

#[tokio::test]
async fn a_conversation_that_becomes_active_moves_to_the_front_and_no_page_repeats_one() {
    let mut world = World::with_conversations(20).await;
    let first = world.page("limit=5").await;
    let mut seen = numbers(&first);
    assert_eq!(seen, [20, 19, 18, 17, 16]);
    // One that was listed, and one that was not.
    world
        .run(
            "update sms_conversations set last_message_at = '2026-11-02T12:00:00Z' \
              where phone_number_canonical in ('+12035550018', '+12035550010')",
        )
        .await;
    seen.extend(world.rest("limit=5", &first).await);
    let distinct: BTreeSet<usize> = seen.iter().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
    assert!(!distinct.contains(&10) && distinct.len() == 19);
    assert_eq!(numbers(&world.page("limit=3").await), [18, 10, 20]);
    assert_eq!(numbers(&world.page("since=2026-11-02T11:59:00Z").await), [18, 10]);
}

#[tokio::test]
async fn invalid_parameters_and_foreign_cursors_are_refused_with_all_reasons() {
    let mut world = World::with_conversations(3).await;
    let of_spanish = world.page("language=es&limit=1").await;
    assert_eq!(of_spanish["next_cursor"], Value::Null, "one conversation");
    let cursor = world.page("limit=1").await["next_cursor"].as_str().unwrap().to_owned();
    let not_a_cursor = "cursor: is not a next_cursor of this API for the same filters";
    let mut changed = cursor.clone().into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for (query, details) in [
        (format!("cursor={changed}"), not_a_cursor),
        (format!("cursor={cursor}&language=es"), not_a_cursor),
        (format!("cursor={cursor}&since=2026-11-01T12:00:00Z"), not_a_cursor),
        (format!("cursor={cursor}x"), not_a_cursor),
        ("cursor=".to_owned(), "cursor: is empty"),
        ("limit=0".to_owned(), "limit: must be a whole number from 1 to 100"),
        ("limit=99999999999999999999".to_owned(), "limit: must be a whole number from 1 to 100"),
        ("tenant_id=%00".to_owned(), "tenant_id: contains a NUL character"),
        ("tenant_id=a&tenant_id=b".to_owned(), "tenant_id: is given more than once"),
        (
            "language=EN&unknown=yes&opted_out=0&since=now".to_owned(),
            "language: must be en, es, pt or unknown\n  unknown: must be true or false\n  \
             opted_out: must be true or false\n  \
             since: is not an instant with its offset, such as 2026-11-23T10:00:00Z",
        ),
    ] {
        let response = refusal(&world.get(&query).await);
        assert_eq!(response, format!("400 sms.validation_error\n  {details}"), "{query}");
    }
    assert_eq!(numbers(&world.page(&format!("cursor={cursor}&limit=100")).await), [2, 1]);
}

#[tokio::test]
async fn another_accounts_conversations_are_not_listed() {
    let mut world = World::with_conversations(4).await;
    world.run("update sms_conversations set account_sid = 'AC2' where tenant_id is null").await;
    assert_eq!(world.all("limit=1").await, [4, 2]);
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let mut world = World::with_conversations(1).await;
    let reply = world.function.call(get("").scopes("messages:read conversations:write").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503() {
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    assert_eq!(refusal(&function.call(get("").event()).await), "503 sms.unavailable");
    assert!(!json!(function.log().await).to_string().contains("hunter2"));
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; DATABASE_URL is missing"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<list_conversations::Config>("list-conversations", Duration::ZERO, environment::API);
}
