//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_get-conversation");
const TENANT: &str = "+12035550123";
const CONVERSATION: &str = "01900000-0000-7000-8000-00000000000c";

struct World {
    function: Function,
    database: Database,
}

impl World {
    /// Starts with a conversation with messages one second apart, of which every third is inbound.
    async fn with_messages(count: usize) -> Self {
        let database = Database::create().await;
        let rows = format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, \
                language_detected, language_confidence, created_at) \
             values ('{CONVERSATION}', 'AC1', '{TENANT}', '(203) 555-0123', 'es', 0.75, '2026-11-01T12:00:00Z'); \
             insert into sms_messages (id, conversation_id, direction, from_number, to_number, twilio_sid, \
                message_content, delivery_status, language, language_confidence, opt_out, created_at) \
             select lpad(n::text, 32, '0')::uuid, '{CONVERSATION}', \
                case when n % 3 = 0 then 'inbound' else 'outbound' end, '{TENANT}', '+18605550100', 'SM' || n, \
                'text ' || n, case when n % 3 = 0 then 'received' else 'sent' end, 'es', 0.5, \
                case when n % 3 = 0 then 'unsure' end, \
                '2026-11-01T12:00:00Z'::timestamptz + n * interval '1 second' \
             from generate_series(1, {count}) n"
        );
        database.client.batch_execute(&rows).await.unwrap();
        let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", &database.url())];
        Self { function: Function::start(BINARY, &variables).await, database }
    }

    async fn get(&mut self, number: &str, query: &str) -> Value {
        self.function.call(get(number, query).event()).await
    }

    async fn page(&mut self, query: &str) -> Value {
        let reply = self.get(TENANT, query).await;
        assert_eq!(reply["statusCode"], 200, "{query}: {reply}");
        body(&reply)
    }
}

fn get(number: &str, query: &str) -> ApiRequest {
    ApiRequest::new("GET", &format!("/conversations/{number}"))
        .scopes("conversations:read")
        .path_parameter("phone_number", number)
        .query(query)
}

fn texts(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_conversation_has_exactly_the_fields_of_the_contract() {
    let mut world = World::with_messages(3).await;
    let reply = world.function.call(get(TENANT, "limit=2").event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let mut page = body(&reply);
    assert!(page["next_cursor"].is_string());
    page["next_cursor"] = Value::Null;
    let message = |n: u32, direction: &str, status: &str| {
        json!({
            "id": format!("00000000-0000-0000-0000-{n:012}"), "direction": direction, "from_number": TENANT,
            "to_number": "+18605550100", "message_content": format!("text {n}"), "content": format!("text {n}"),
            "media": [], "twilio_sid": format!("SM{n}"), "delivery_status": status, "error_code": null,
            "language": "es", "language_confidence": 0.5,
            "opt_out": if direction == "inbound" { json!("unsure") } else { Value::Null },
            "created_at": format!("2026-11-01T12:00:0{n}Z"),
        })
    };
    assert_eq!(
        page,
        json!({
            "phone_number_canonical": TENANT, "phone_number_original": "(203) 555-0123",
            "conversation_id": CONVERSATION,
            "tenant_id": null, "workflow_type": null, "workflow_id": null,
            "conversation_status": "open", "time_zone": null, "language_detected": "es",
            "language_confidence": 0.75, "tenant_candidates": null, "opted_out": false, "carrier_blocked_at": null,
            "number_deactivated_at": null, "last_message_at": "2026-11-01T12:00:03Z",
            "messages": [message(3, "inbound", "received"), message(2, "outbound", "sent")],
            "page": 1, "limit": 2, "offset": 0, "total": 3, "next_cursor": null,
        })
    );
}

#[tokio::test]
async fn a_conversation_is_found_by_any_format_of_its_number() {
    let mut world = World::with_messages(1).await;
    for number in [
        "+12035550123",
        "12035550123",
        "2035550123",
        "(203) 555-0123",
        "203.555.0123",
        " +1 203-555-0123 ",
        "001 203 555 0123",
        "%2B12035550123",
        "%28203%29%20555-0123",
        "011 1 203 555 0123",
    ] {
        let reply = world.get(number, "").await;
        assert_eq!(reply["statusCode"], 200, "{number}: {reply}");
    }
    for number in ["+12035550124", "40404", "TWILIO", "hello", "%", "🏠"] {
        assert_eq!(refusal(&world.get(number, "").await), "404 sms.not_found", "{number}");
    }
    let nul = refusal(&world.get("+1203555\u{0}0123", "").await);
    assert_eq!(nul, "400 sms.validation_error\n  phone_number: contains a NUL character");
}

#[tokio::test]
async fn short_codes_and_alphanumeric_senders_are_found() {
    let mut world = World::with_messages(0).await;
    for sender in ["40404", "MyBank 24"] {
        let rename = format!("update sms_conversations set phone_number_canonical = '{sender}'");
        world.database.client.batch_execute(&rename).await.unwrap();
        let page = body(&world.get(sender, "").await);
        assert_eq!(page["phone_number_canonical"], sender);
        assert_eq!(
            (&page["messages"], &page["total"], &page["next_cursor"]),
            (&json!([]), &json!(0), &Value::Null)
        );
    }
}

#[tokio::test]
async fn another_accounts_conversation_is_not_found() {
    let mut world = World::with_messages(1).await;
    world.database.client.batch_execute("update sms_conversations set account_sid = 'AC2'").await.unwrap();
    assert_eq!(refusal(&world.get(TENANT, "").await), "404 sms.not_found");
}

#[tokio::test]
async fn pages_and_offsets_count_from_the_newest() {
    let mut world = World::with_messages(25).await;
    let first = world.page("").await;
    assert_eq!(texts(&first).len(), 20);
    assert_eq!(
        (&first["page"], &first["limit"], &first["offset"], &first["total"]),
        (&json!(1), &json!(20), &json!(0), &json!(25))
    );
    let second = world.page("page=2").await;
    assert_eq!(texts(&second), ["text 5", "text 4", "text 3", "text 2", "text 1"]);
    assert_eq!(
        (&second["page"], &second["offset"], &second["next_cursor"]),
        (&json!(2), &json!(20), &Value::Null)
    );
    let skipped = world.page("offset=7&limit=2&unknown=1").await;
    assert_eq!(texts(&skipped), ["text 18", "text 17"]);
    assert_eq!((&skipped["page"], &skipped["offset"]), (&json!(4), &json!(7)));
    let beyond = world.page("page=4294967295&limit=100").await;
    assert_eq!((texts(&beyond).len(), &beyond["total"]), (0, &json!(25)));
    assert_eq!(world.page("limit=25").await["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_cursor_returns_every_message_once_while_messages_arrive() {
    let mut world = World::with_messages(10).await;
    // Three messages with the same time, at the end of a page.
    let same = "update sms_messages set created_at = '2026-11-01T12:00:07Z' where twilio_sid in ('SM6', 'SM7', 'SM8')";
    world.database.client.batch_execute(same).await.unwrap();
    let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = world.page(&query).await;
        seen.extend(texts(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=3&cursor={cursor}");
        let newer = "insert into sms_messages (id, conversation_id, direction, to_number, twilio_sid, \
            message_content, delivery_status, created_at) select gen_random_uuid(), conversation_id, 'inbound', 'x', \
            gen_random_uuid(), 'newer', 'received', now() from sms_messages limit 1";
        world.database.client.batch_execute(newer).await.unwrap();
    }
    let all: Vec<String> = (1..=10).rev().map(|n| format!("text {n}")).collect();
    assert_eq!(seen, all);
    let by_cursor = world.page(&query).await;
    assert_eq!(
        (&by_cursor["page"], &by_cursor["offset"], &by_cursor["total"]),
        (&Value::Null, &Value::Null, &json!(13))
    );
}

#[tokio::test]
async fn invalid_parameters_are_refused_with_all_reasons() {
    let mut world = World::with_messages(1).await;
    let page = "page: must be a whole number from 1 to 4294967295";
    let limit = "limit: must be a whole number from 1 to 100";
    for (query, details) in [
        ("page=0", page),
        ("page=-1", page),
        ("page=abc", page),
        ("page=", page),
        ("page=1.0", page),
        ("page=%2B1", page),
        ("page=99999999999999999999", page),
        ("limit=0", limit),
        ("limit=101", limit),
        ("offset=-1", "offset: must be a whole number from 0 to 4294967295"),
        ("page=1&page=2", "page: is given more than once"),
        ("page=2&offset=5", "offset: conflicts with page 2, which begins at 20; give only one of them"),
        ("cursor=garbage", "cursor: is not a next_cursor of this API"),
        ("cursor=", "cursor: is not a next_cursor of this API"),
        ("cursor=AAAA&page=1", "cursor: cannot be combined with page or offset"),
        ("cursor=AAAA&offset=0", "cursor: cannot be combined with page or offset"),
        (
            "page=0&limit=101&cursor=%00",
            "limit: must be a whole number from 1 to 100\n  page: must be a whole number from 1 to 4294967295\n  \
             cursor: is not a next_cursor of this API",
        ),
    ] {
        let response = refusal(&world.get(TENANT, query).await);
        assert_eq!(response, format!("400 sms.validation_error\n  {details}"), "{query}");
    }
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let mut world = World::with_messages(1).await;
    let reply = world.function.call(get(TENANT, "").scopes("messages:read messages:send").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
}

#[tokio::test]
async fn a_message_that_waits_for_a_retry_shows_its_latest_sid() {
    let mut world = World::with_messages(1).await;
    let waits = "update sms_messages set direction = 'outbound', delivery_status = 'pending', twilio_sid = null;
        insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, started_at)
        select gen_random_uuid(), m.id, n, 'accepted', 'SM7' || n, now() from sms_messages m, generate_series(1, 2) n";
    world.database.client.batch_execute(waits).await.unwrap();
    assert_eq!(world.page("").await["messages"][0]["twilio_sid"], "SM72");
}

#[tokio::test]
async fn an_opted_out_conversation_is_reported() {
    let mut world = World::with_messages(1).await;
    world.database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    assert_eq!(world.page("").await["opted_out"], true);
}

#[tokio::test]
async fn tenant_candidates_carrier_blocks_and_deactivations_are_reported() {
    let mut world = World::with_messages(1).await;
    world
        .database
        .client
        .batch_execute(
            "update sms_conversations
             set tenant_candidates = '[\"t-1\", \"t-2\"]', carrier_blocked_at = '2026-11-01T12:00:00Z',
                 deactivated_at = '2026-10-31T00:00:00Z'",
        )
        .await
        .unwrap();
    let page = world.page("").await;
    assert_eq!((&page["tenant_id"], &page["tenant_candidates"]), (&Value::Null, &json!(["t-1", "t-2"])));
    assert_eq!(page["carrier_blocked_at"], "2026-11-01T12:00:00Z");
    assert_eq!(page["number_deactivated_at"], "2026-10-31T00:00:00Z");
}

#[tokio::test]
async fn a_broken_schema_is_500_and_an_unavailable_postgres_503() {
    let mut world = World::with_messages(1).await;
    world.database.client.batch_execute("alter table sms_messages drop column media").await.unwrap();
    let reply = world.get(TENANT, "").await;
    assert_eq!(refusal(&reply), "500 sms.internal");
    assert!(!reply["body"].as_str().unwrap().contains("media"), "{reply}");

    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    let reply = function.call(get(TENANT, "").event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    let log = json!(function.log().await).to_string();
    assert!(!log.contains("hunter2") && !log.contains("5550123"), "{log}");
}

#[tokio::test]
async fn a_dead_connection_is_replaced() {
    let mut world = World::with_messages(1).await;
    world.page("").await;
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
        where datname = current_database() and application_name = 'sms-foundation'";
    world.database.client.batch_execute(cut).await.unwrap();
    world.page("").await;
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let log = Function::start(BINARY, &[("DEFAULT_REGION", "x")]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; DEFAULT_REGION is invalid (not an ISO 3166-1 \
         code of two letters, such as US); DATABASE_URL is missing"
    );
}

#[tokio::test]
async fn invisible_characters_in_a_number_are_ignored() {
    let mut world = World::with_messages(1).await;
    for spelling in [
        "+1\u{200e}203\u{200e}555\u{200e}0123",
        "+1\u{2068}203\u{2069}555-0123",
        "+1\u{fe0f}203\u{fe0f}555\u{fe0f}0123",
        "\u{feff}+1\u{202f}203\u{202f}5550123",
        "203\t555\u{2011}0123\u{3164}",
        // A path that the gateway did not decode.
        "%2B1%E2%80%8E203%E2%80%8E555%E2%80%8E0123",
        "%EF%BB%BF203%E2%80%AF555%E2%80%AF0123",
    ] {
        let reply = world.get(spelling, "").await;
        assert_eq!(reply["statusCode"], 200, "{spelling:?}: {reply}");
        assert_eq!(body(&reply)["phone_number_canonical"], TENANT);
    }
}

#[tokio::test]
async fn a_conversation_with_a_number_of_an_unknown_area_code_is_found() {
    let mut world = World::with_messages(1).await;
    for number in ["+16245550144", "+16875550144"] {
        let change = format!("update sms_conversations set phone_number_canonical = '{number}'");
        world.database.client.batch_execute(&change).await.unwrap();
        for spelling in
            [number.to_owned(), number[2..].to_owned(), format!("({}) {}", &number[2..5], &number[5..])]
        {
            let reply = world.get(&spelling, "").await;
            assert_eq!(reply["statusCode"], 200, "{spelling:?}: {reply}");
        }
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<get_conversation::Config>("get-conversation", Duration::ZERO, environment::API);
}
