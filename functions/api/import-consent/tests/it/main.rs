//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, KEY_ID, body, environment, refusal};

mod documents;

const BINARY: &str = env!("CARGO_BIN_EXE_import-consent");
const TENANT: &str = "+12035550123";
const OTHER: &str = "+12035550124";
/// The ledger in its order.
const LEDGER: &str = "select string_agg(concat_ws(' ', c.phone_number_canonical, o.action, o.stated_source,
        o.stated_evidence), '; ' order by o.created_at, o.id)
    from sms_opt_out_events o join sms_conversations c on c.id = o.conversation_id";
/// The numbers, and whether they have opted out.
const STATE: &str = "select string_agg(concat_ws(' ', phone_number_canonical, opted_out_at is not null), ', '
    order by phone_number_canonical) from sms_conversations";
const EVENTS: &str = "select string_agg(event_type, ' ' order by number) from sms_events_pending";

struct World {
    function: Function,
    database: Database,
}

impl World {
    async fn start() -> Self {
        Self::with_scopes("").await
    }

    async fn with_scopes(scopes: &str) -> Self {
        let database = Database::create().await;
        let url = database.url();
        let variables =
            [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", url.as_str()), ("CONSENT_SCOPES", scopes)];
        Self { function: Function::start(BINARY, &variables).await, database }
    }

    /// Sends a request that must be accepted, and returns the response.
    async fn import(&mut self, request: ApiRequest) -> Value {
        let reply = self.function.call(request.event()).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
        body(&reply)
    }

    async fn refused(&mut self, request: ApiRequest) -> String {
        refusal(&self.function.call(request.event()).await)
    }
}

fn post() -> ApiRequest {
    ApiRequest::new("POST", "/consent/import").scopes("conversations:write")
}

fn rows(rows: &[Value]) -> ApiRequest {
    post().json(&json!({"rows": rows}))
}

fn csv(document: &str) -> ApiRequest {
    post().header("content-type", "text/csv").body(document)
}

fn row(number: &str, action: &str, evidence: &str) -> Value {
    json!({"phone_number": number, "action": action, "source": "paper", "evidence": evidence})
}

/// Rows for different numbers.
fn many(count: usize) -> Vec<Value> {
    (0..count).map(|n| row(&format!("+1203555{n:04}"), "opt_out", "scan 4711")).collect()
}

fn all(imported: usize, unchanged: usize) -> Value {
    json!({"imported": imported, "unchanged": unchanged, "rejected": []})
}

#[tokio::test]
async fn rows_are_recorded_for_numbers_with_and_without_a_conversation() {
    let mut world = World::start().await;
    let conversation = "insert into sms_conversations (
            id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (gen_random_uuid(), 'AC1', '12345', '12345', now())";
    world.database.client.batch_execute(conversation).await.unwrap();
    let request = rows(&[
        row("(203) 555-0123", "opt_out", "scan 1"),
        row(OTHER, "opt_in", "scan 2"),
        row("12345", "opt_out", "scan 3"),
    ]);
    assert_eq!(world.import(request.clone()).await, all(3, 0));
    let ledger =
        format!("{TENANT} opt_out paper scan 1; {OTHER} opt_in paper scan 2; 12345 opt_out paper scan 3");
    assert_eq!(world.database.scalar(LEDGER).await, ledger);
    assert_eq!(world.database.scalar(STATE).await, format!("{TENANT} t, {OTHER} f, 12345 t"));
    assert_eq!(world.database.scalar(EVENTS).await, "contact.opted_out contact.opted_out");
    let keys = "select string_agg(distinct api_key_id::text, ' ') from sms_opt_out_events";
    assert_eq!(world.database.scalar(keys).await, KEY_ID);
    let number = format!(
        "select phone_number_original from sms_conversations where phone_number_canonical = '{TENANT}'"
    );
    assert_eq!(world.database.scalar(&number).await, "(203) 555-0123");

    // The same file again.
    assert_eq!(world.import(request).await, all(0, 3));
    assert_eq!(world.database.scalar(LEDGER).await, ledger);
    assert_eq!(world.database.scalar(EVENTS).await, "contact.opted_out contact.opted_out");
}

#[tokio::test]
async fn rows_of_one_number_apply_in_the_order_of_the_file_and_once() {
    let mut world = World::start().await;
    let request = rows(&[
        row(TENANT, "opt_out", "scan 1"),
        row(OTHER, "opt_out", "scan 2"),
        row("(203) 555-0123", "opt_in", "scan 3"),
        row("12035550123", "opt_in", "scan 3"),
        row(TENANT, "opt_out", "scan 1"),
    ]);
    assert_eq!(world.import(request.clone()).await, all(4, 1));
    let of_tenant = LEDGER.to_owned() + &format!(" where c.phone_number_canonical = '{TENANT}'");
    let ledger =
        format!("{TENANT} opt_out paper scan 1; {TENANT} opt_in paper scan 3; {TENANT} opt_out paper scan 1");
    assert_eq!(world.database.scalar(&of_tenant).await, ledger);
    assert_eq!(world.database.scalar(STATE).await, format!("{TENANT} t, {OTHER} t"));
    let events = "contact.opted_out contact.opted_in contact.opted_out";
    let sql = format!(
        "select string_agg(e.event_type, ' ' order by e.number) from sms_events_pending e
         join sms_conversations c on c.id = e.conversation_id where c.phone_number_canonical = '{TENANT}'"
    );
    assert_eq!(world.database.scalar(&sql).await, events);

    assert_eq!(world.import(request).await, all(0, 5));
    assert_eq!(world.database.scalar(&of_tenant).await, ledger);
    // A file that continues the ledger.
    let more = rows(&[row(TENANT, "opt_out", "scan 1"), row(TENANT, "opt_in", "scan 4")]);
    assert_eq!(world.import(more).await, all(1, 1));
    assert_eq!(world.database.scalar(STATE).await, format!("{TENANT} f, {OTHER} t"));
    assert_eq!(world.database.scalar(&sql).await, format!("{events} contact.opted_in"));
}

#[tokio::test]
async fn ten_thousand_rows_are_imported_and_more_are_refused() {
    let mut world = World::start().await;
    let request = rows(&many(10_000));
    assert_eq!(world.import(request.clone()).await, all(10_000, 0));
    let opted_out = "select count(*) from sms_conversations where opted_out_at is not null";
    assert_eq!(world.database.scalar(opted_out).await, "10000");
    assert_eq!(world.database.scalar("select count(*) from sms_events_pending").await, "10000");
    assert_eq!(world.import(request).await, all(0, 10_000));
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "10000");

    let mut more = many(10_000);
    more.push(row(TENANT, "opt_in", "scan 1"));
    let problem = "400 sms.validation_error\n  rows: has more than 10000 rows";
    assert_eq!(world.refused(rows(&more)).await, problem);
    let lines: String = (0..10_001).map(|n| format!("+1203555{n:04},opt_in,paper,scan 1\n")).collect();
    let document = format!("phone_number,action,source,evidence\n{lines}");
    assert_eq!(world.refused(csv(&document)).await, problem);
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "10000");
}

#[tokio::test]
async fn every_invalid_row_is_listed_with_its_reason_and_stops_no_other() {
    let mut world = World::start().await;
    let with = |field: &str, value: Value| {
        let mut row = row(OTHER, "opt_out", "scan 1");
        row[field] = value;
        row
    };
    let unknown = "phone_number has no conversation and can't receive messages: ";
    let cases = [
        (with("phone_number", json!("12345")), format!("{unknown}a short code can't receive messages")),
        (with("phone_number", json!("x")), format!("{unknown}not a phone number")),
        (with("phone_number", json!("")), format!("{unknown}the phone number is empty")),
        (with("phone_number", json!(1)), "phone_number must be a string, not a number".to_owned()),
        (with("action", json!("stop")), "action must be opt_out or opt_in".to_owned()),
        (with("source", json!(" ")), "source is blank".to_owned()),
        (with("source", json!("x".repeat(101))), "source has more than 100 characters".to_owned()),
        (with("evidence", json!("\n")), "evidence is blank".to_owned()),
        (with("evidence", json!("x".repeat(2001))), "evidence has more than 2000 characters".to_owned()),
        (with("evidence", json!("a\u{0}b")), "evidence contains a NUL character".to_owned()),
        (with("evidence", json!(null)), "evidence is missing".to_owned()),
        (
            with("scope", json!("collections")),
            "scope must be all, workflow: with a workflow_type of at most 255 characters, or purpose: with service, \
             marketing or emergency"
                .to_owned(),
        ),
        (
            json!({"phone_number": OTHER, "action": "opt_in", "source": "web", "evidence": "1",
                "scope": "purpose:marketing"}),
            "scope is not in CONSENT_SCOPES, so that an opt-in can only apply to all messages".to_owned(),
        ),
        (with("note", json!(1)), "note is not a field of this request".to_owned()),
        (json!(7), "row is not a JSON object".to_owned()),
        (
            json!({"action": "x"}),
            "phone_number is missing; action must be opt_out or opt_in; source is missing; \
             evidence is missing"
                .to_owned(),
        ),
    ];
    let mut given = vec![row(TENANT, "opt_out", "scan 1")];
    given.extend(cases.iter().map(|(row, _)| row.clone()));
    given.push(with("scope", json!("all")));
    let rejected: Vec<Value> =
        (2..).zip(&cases).map(|(row, (_, reason))| json!({"row": row, "reason": reason})).collect();
    let expected = json!({"imported": 2, "unchanged": 0, "rejected": rejected});
    assert_eq!(world.import(rows(&given)).await, expected);
    assert_eq!(world.database.scalar(STATE).await, format!("{TENANT} t, {OTHER} t"));
    // Nothing that the rows contain is logged.
    let log = json!(world.function.log().await).to_string();
    assert!(!log.contains("scan 1") && !log.contains("5550123") && !log.contains("collections"), "{log}");
}

#[tokio::test]
async fn an_import_that_runs_out_of_time_keeps_its_chunks_and_a_repetition_continues() {
    let database = Database::create().await;
    let url = database.url();
    let variables =
        [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", url.as_str()), ("DATABASE_BUDGET_MS", "8000")];
    let mut function = Function::start(BINARY, &variables).await;
    // The conversation of row 501, in the second chunk, is locked.
    let locker = testing::connect(&url).await;
    let conversation = "insert into sms_conversations (
            id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (gen_random_uuid(), 'AC1', '+12035550500', '+12035550500', now())";
    locker.batch_execute(conversation).await.unwrap();
    locker.batch_execute("begin; update sms_conversations set time_zone = 'UTC'").await.unwrap();
    let request = rows(&many(600));
    let reply = function.call(request.event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    assert_eq!(
        body(&reply)["error"]["message"],
        "the import is incomplete: 500 rows are stored; repeat the request to continue"
    );
    assert_eq!(database.scalar("select count(*) from sms_opt_out_events").await, "500");

    locker.batch_execute("rollback").await.unwrap();
    let mut world = World {
        function: Function::start(BINARY, &[("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", &url)]).await,
        database,
    };
    assert_eq!(world.import(request).await, all(100, 500));
    assert_eq!(world.database.scalar("select count(*) from sms_events_pending").await, "600");
}

#[tokio::test]
async fn a_key_without_the_scope_is_refused() {
    let mut world = World::start().await;
    let request = rows(&[row(TENANT, "opt_out", "scan 1")]).scopes("conversations:read");
    assert_eq!(world.refused(request).await, "403 sms.forbidden");
    assert_eq!(world.database.scalar("select count(*) from sms_conversations").await, "0");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    let reply = function.call(rows(&[row(TENANT, "opt_out", "scan 4711")]).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    let log = json!(function.log().await).to_string();
    assert!(!log.contains("hunter2") && !log.contains("5550123") && !log.contains("4711"), "{log}");
    let log = Function::start(BINARY, &[("DATABASE_BUDGET_MS", "0")]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; DATABASE_URL is missing; \
         DATABASE_BUDGET_MS must be between 50 and 60000"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<import_consent::Config>(
        "import-consent",
        Duration::ZERO,
        &[("DATABASE_BUDGET_MS", 1)],
    );
}
