//! Runs the binary through the Runtime API with a real Postgres and a configurable Monitor.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::db::inbound::{self, NewInbound};
use common::db::tenants::{self, CheckedNumber, Identification, LookupIntervals};
use common::domain::keywords::OptOut;
use common::domain::phone::InboundSender;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment};
use wiremock::matchers::{any, method, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const BINARY: &str = env!("CARGO_BIN_EXE_reconcile-tenants");
const A: &str = "+12025550123";
const B: &str = "+12025550124";
const IDENTIFIED: &str =
    "select count(*) from sms_events_pending where event_type = 'conversation.tenant_identified'";

struct World {
    database: Database,
    monitor: MockServer,
    profiles: MockServer,
}

impl World {
    async fn start() -> Self {
        let (monitor, profiles) = (MockServer::start().await, MockServer::start().await);
        Self { database: Database::create().await, monitor, profiles }
    }

    async fn function(&self, changes: &[(&str, &str)]) -> Function {
        let (database, monitor, profiles) = (self.database.url(), self.monitor.uri(), self.profiles.uri());
        let mut variables = vec![
            ("DATABASE_URL", database.as_str()),
            ("MONITOR_API_URL", &monitor),
            ("TENANT_PROFILE_API_URL", &profiles),
            ("TENANT_GRACE_SECONDS", "0"),
        ];
        variables.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    async fn text(&self, from: &str, language: &str, confidence: f64) {
        let sid = format!("SM{}", common::clock::new_id().simple());
        let message = NewInbound {
            id: common::clock::new_id().into(),
            conversation_id: common::clock::new_id().into(),
            account_sid: "AC1".parse().unwrap(),
            phone_number_canonical: InboundSender::from_canonical(from),
            from_number: from.to_owned(),
            to_number: "+15005550006".to_owned(),
            messaging_service_sid: None,
            message_content: "the sink leaks".to_owned(),
            media: json!([]),
            raw_webhook_data: json!({"MessageSid": sid}),
            twilio_sid: sid.parse().unwrap(),
            nul_removed: false,
            language: language.parse().unwrap(),
            language_confidence: confidence,
            opt_out_result: OptOut::None,
            opt_out: None,
            request_id: "r-1".to_owned(),
            received_at: common::clock::now(),
        };
        inbound::store(&self.database.db(), &[message]).await.unwrap();
    }

    async fn add_match(&self, spelling: &str, tenant: &str) {
        Mock::given(query_param("phone", spelling))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "tenant_id": tenant })))
            .mount(&self.monitor)
            .await;
    }

    async fn lookups(&self) -> usize {
        self.monitor.received_requests().await.unwrap().len()
    }

    async fn profile_updates(&self) -> usize {
        self.profiles.received_requests().await.unwrap().len()
    }

    async fn time_passes(&self) {
        let sql = "update sms_conversations set tenant_next_check_at = now() - interval '1 second'; \
            update sms_tenants set push_due_at = now()";
        self.database.client.batch_execute(sql).await.unwrap();
    }

    async fn tenant(&self, number: &str) -> String {
        let sql = format!(
            "select coalesce(tenant_id, 'none') from sms_conversations where phone_number_canonical = '{number}'"
        );
        self.database.scalar(&sql).await
    }

    /// Returns in how many minutes the next lookup is due, rounded to ten since some time has passed.
    async fn asks_in_minutes(&self) -> String {
        let steps =
            "select ceil(extract(epoch from tenant_next_check_at - now()) / 600) * 10 from sms_conversations";
        self.database.scalar(steps).await
    }
}

async fn runs(function: &mut Function) -> Value {
    function.call(serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()).await
}

fn done(looked_up: u64, identified: u64, profiles_updated: u64) -> Value {
    json!({"looked_up": looked_up, "identified": identified, "settled": 0, "profiles_updated": profiles_updated})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_match_updates_the_same_conversation_with_one_event_however_often_it_runs() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    let before = world.database.scalar("select id from sms_conversations").await;
    let mut function = world.function(&[]).await;
    assert_eq!(runs(&mut function).await, done(1, 0, 0));
    assert_eq!(world.tenant(A).await, "none");
    assert_eq!(runs(&mut function).await, done(0, 0, 0), "the miss is stored");
    world.add_match("12025550123", "T-1").await;
    world.time_passes().await;
    assert_eq!(runs(&mut function).await, done(1, 1, 1));
    world.time_passes().await;
    assert_eq!(runs(&mut function).await, done(1, 1, 0), "a match is confirmed");
    assert_eq!(world.tenant(A).await, "T-1");
    assert_eq!(world.database.scalar("select id from sms_conversations").await, before);
    assert_eq!(world.database.scalar(IDENTIFIED).await, "1");
    assert_eq!(world.profile_updates().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_number_is_looked_up_at_growing_intervals() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    let pace = [("TENANT_NO_MATCH_TTL_SECONDS", "3600"), ("TENANT_NO_MATCH_TTL_MAX_SECONDS", "14400")];
    let mut function = world.function(&pace).await;
    for minutes in ["60", "120", "240", "240"] {
        assert_eq!(runs(&mut function).await, done(1, 0, 0));
        assert_eq!(world.asks_in_minutes().await, minutes);
        world.time_passes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_conversation_is_skipped_during_the_grace_period_and_a_short_code_always() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    world.text("40404", "unknown", 0.98).await;
    let mut with_grace_period = world.function(&[("TENANT_GRACE_SECONDS", "60")]).await;
    assert_eq!(runs(&mut with_grace_period).await, done(0, 0, 0));
    let mut function = world.function(&[]).await;
    assert_eq!(runs(&mut function).await, done(1, 0, 0));
    assert_eq!(world.lookups().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_limited_and_the_next_one_continues() {
    let world = World::start().await;
    for n in 0..30 {
        world.text(&format!("+1202555{:04}", 1000 + n), "en", 0.95).await;
    }
    let mut function = world.function(&[("TENANT_CHECKS_PER_RUN", "25")]).await;
    assert_eq!(runs(&mut function).await, done(25, 0, 0));
    assert_eq!(runs(&mut function).await, done(5, 0, 0));
    assert_eq!(world.lookups().await, 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_looks_a_number_up_once_however_short_the_intervals() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    world.text(B, "en", 0.95).await;
    world.add_match(A, "T-1").await;
    let hasty = [
        ("TENANT_REFRESH_SECONDS", "0"),
        ("TENANT_NO_MATCH_TTL_SECONDS", "0"),
        ("TENANT_NO_MATCH_TTL_MAX_SECONDS", "0"),
    ];
    let mut function = world.function(&hasty).await;
    for _ in 0..2 {
        assert_eq!(runs(&mut function).await["looked_up"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_monitor_gets_few_requests_and_every_number_is_looked_up_afterwards() {
    let world = World::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(600)))
        .mount(&world.monitor)
        .await;
    for n in 0..40 {
        world.text(&format!("+1202555{:04}", 1000 + n), "en", 0.95).await;
    }
    let hasty =
        [("MONITOR_TIMEOUT_MS", "1000"), ("MONITOR_BUDGET_MS", "3000"), ("MONITOR_BREAKER_SECONDS", "1")];
    let mut function = world.function(&hasty).await;
    assert_eq!(runs(&mut function).await, done(20, 0, 0));
    assert!(world.lookups().await <= 15, "{}", world.lookups().await);
    world.monitor.reset().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"tenant_id": "T-1"})))
        .mount(&world.monitor)
        .await;
    testing::eventually("all are identified", async || {
        world.time_passes().await;
        runs(&mut function).await;
        (world.database.scalar(IDENTIFIED).await == "40").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_monitor_does_not_change_the_interval_of_a_number() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).mount(&world.monitor).await;
    let mut function =
        world.function(&[("TENANT_RETRY_SECONDS", "600"), ("MONITOR_BREAKER_SECONDS", "0")]).await;
    for _ in 0..4 {
        assert_eq!(runs(&mut function).await, done(1, 0, 0));
        assert_eq!(world.asks_in_minutes().await, "10");
        world.time_passes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_fails_at_the_monitor_blocks_no_other_and_is_retried_at_growing_intervals() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    Mock::given(query_param("phone", A)).respond_with(ResponseTemplate::new(500)).mount(&world.monitor).await;
    world.add_match(B, "T-2").await;
    let mut function = world.function(&[("TENANT_RETRY_SECONDS", "600")]).await;
    for minutes in ["10", "20", "40", "60"] {
        assert_eq!(runs(&mut function).await, done(1, 0, 0));
        assert_eq!(world.asks_in_minutes().await, minutes);
        world.time_passes().await;
        // Another lookup succeeds, so that the circuit breaker stays closed.
        world.text(B, "unknown", 0.98).await;
        let only_b_is_due = "update sms_conversations set tenant_next_check_at = now() + interval '1 hour'
                where phone_number_canonical = '+12025550123';
            update sms_conversations set tenant_next_check_at = now() where phone_number_canonical = '+12025550124'";
        world.database.client.batch_execute(only_b_is_due).await.unwrap();
        runs(&mut function).await;
        assert_eq!(world.tenant(B).await, "T-2");
        let delete_b = "delete from sms_messages where from_number = '+12025550124';
            delete from sms_tenant_numbers;
            delete from sms_events;
            delete from sms_events_pending;
            delete from sms_conversation_sequences;
            delete from sms_conversations where phone_number_canonical = '+12025550124'";
        world.database.client.batch_execute(delete_b).await.unwrap();
        world.time_passes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_numbers_that_fail_at_the_monitor_block_no_other() {
    let world = World::start().await;
    // More numbers than the concurrency, and due before the others.
    for n in 0..12 {
        let number = format!("+1202555{:04}", 1000 + n);
        world.text(&number, "en", 0.95).await;
        Mock::given(query_param("phone", number))
            .respond_with(ResponseTemplate::new(500))
            .mount(&world.monitor)
            .await;
    }
    for n in 0..30 {
        world.text(&format!("+1202555{:04}", 2000 + n), "en", 0.95).await;
    }
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"tenant_id": "T-1"})))
        .with_priority(9)
        .mount(&world.monitor)
        .await;
    let first = "update sms_conversations set tenant_next_check_at =
        now() - make_interval(hours => 1 + (phone_number_canonical < '+12025552')::int)";
    world.database.client.batch_execute(first).await.unwrap();
    let mut function = world.function(&[("MONITOR_BREAKER_SECONDS", "1")]).await;
    testing::eventually("all others are identified", async || {
        runs(&mut function).await;
        let minute =
            "update sms_conversations set tenant_next_check_at = tenant_next_check_at - interval '1 minute'";
        world.database.client.batch_execute(minute).await.unwrap();
        (world.database.scalar(IDENTIFIED).await == "30").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_profile_update_is_retried_when_the_service_is_available() {
    let world = World::start().await;
    world.text(A, "es", 0.95).await;
    world.add_match(A, "T-1").await;
    Mock::given(method("PUT")).respond_with(ResponseTemplate::new(503)).mount(&world.profiles).await;
    let mut function = world.function(&[]).await;
    assert_eq!(runs(&mut function).await, done(1, 1, 0));
    assert_eq!(runs(&mut function).await, done(0, 0, 0), "the retry is not due");
    assert_eq!(world.profile_updates().await, 1);
    world.profiles.reset().await;
    Mock::given(method("PUT")).respond_with(ResponseTemplate::new(204)).mount(&world.profiles).await;
    world.database.client.batch_execute("update sms_tenants set push_due_at = now()").await.unwrap();
    assert_eq!(runs(&mut function).await, done(0, 0, 1));
    assert_eq!(runs(&mut function).await, done(0, 0, 0));
    assert_eq!(world.profile_updates().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsettled_language_is_settled_and_pushed_once() {
    let world = World::start().await;
    Mock::given(method("PUT")).respond_with(ResponseTemplate::new(204)).mount(&world.profiles).await;
    world.text(A, "es", 0.95).await;
    let db = world.database.db();
    let id = world.database.scalar("select id from sms_conversations").await.parse().unwrap();
    let finding = Identification::Tenant { tenant_id: "T-1".to_owned(), preference: None, found_by: None };
    let found = [CheckedNumber { conversation_id: id, result: finding, request_id: "r-1".to_owned() }];
    let day = Duration::from_secs(86_400);
    let pace = LookupIntervals { refresh: day, confirm: day, no_match: day, no_match_max: day };
    tenants::record(&db, &found, common::clock::now(), &pace).await.unwrap();
    // The function that stored this has died.
    let mut with_grace_period = world.function(&[("TENANT_GRACE_SECONDS", "3600")]).await;
    assert_eq!(runs(&mut with_grace_period).await, done(0, 0, 0), "the grace period has not passed");
    let mut function = world.function(&[]).await;
    let settled = json!({"looked_up": 0, "identified": 0, "settled": 1, "profiles_updated": 1});
    assert_eq!(runs(&mut function).await, settled);
    assert_eq!(runs(&mut function).await, done(0, 0, 0));
    // The tenant's next message was not processed.
    world.text(A, "en", 0.95).await;
    assert_eq!(runs(&mut function).await, settled);
    assert_eq!(world.profile_updates().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_claimed_by_a_dead_function_is_looked_up_after_the_lease() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    let id = world.database.scalar("select id from sms_conversations").await.parse().unwrap();
    let lease = Duration::from_secs(3_600);
    let claimed = tenants::claim(&world.database.db(), &[id], common::clock::now(), lease).await.unwrap();
    assert!(claimed[0].is_due);
    let mut function = world.function(&[]).await;
    assert_eq!(runs(&mut function).await, done(0, 0, 0));
    world.time_passes().await;
    assert_eq!(runs(&mut function).await, done(1, 0, 0), "the lease has expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_monitor_and_a_profile_service_a_run_does_nothing() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    let mut function = world.function(&[("MONITOR_API_URL", ""), ("TENANT_PROFILE_API_URL", "")]).await;
    assert_eq!(runs(&mut function).await, done(0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_postgres_fails_and_the_next_one_succeeds() {
    let world = World::start().await;
    world.text(A, "en", 0.95).await;
    let mut function = world.function(&[]).await;
    world.database.client.batch_execute("alter table sms_conversations rename to hidden").await.unwrap();
    let outcome = function.invoke(json!({})).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    world.database.client.batch_execute("alter table hidden rename to sms_conversations").await.unwrap();
    assert_eq!(runs(&mut function).await, done(1, 0, 0));
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // The tenants of a page are looked up in two rounds.
    environment::check::<reconcile_tenants::Config>(
        "reconcile-tenants",
        Duration::from_secs(20),
        &[
            environment::CONNECT,
            environment::STATEMENT,
            ("MONITOR_BUDGET_MS", 2),
            ("TENANT_PROFILE_TIMEOUT_MS", 1),
        ],
    );
}
