//! Whose number it is: known soon when the Monitor answers, late when it does not, and never at a message's expense.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::client::{INBOUND_OF, exchange, fresh_handset, fresh_sid, request};
use crate::stack::{Setup, Stack, eventually};

const EVENTS_OF: &str =
    "select count(*) from sms_events e join sms_conversations c on c.id = e.conversation_id
    where c.phone_number_canonical = $1 and e.event_type = 'conversation.tenant_identified'";

/// Seconds instead of minutes and hours.
fn quick() -> Setup {
    Setup::impatient()
        .with("MONITOR_TIMEOUT_MS", "500")
        .with("MONITOR_BUDGET_MS", "1500")
        .with("MONITOR_BREAKER_SECONDS", "1")
        .with("TENANT_PROFILE_TIMEOUT_MS", "500")
        .with("TENANT_RETRY_SECONDS", "1")
        .with("TENANT_CONFIRM_SECONDS", "1")
        .with("TENANT_NO_MATCH_TTL_SECONDS", "1")
        .with("TENANT_NO_MATCH_TTL_MAX_SECONDS", "2")
        .with("TENANT_GRACE_SECONDS", "2")
}

static HEALTHY: OnceCell<Stack> = OnceCell::const_new();

/// The stack of the tests that arm no fault, and for which no answer is too late.
async fn healthy() -> &'static Stack {
    let patient = quick()
        .with("MONITOR_TIMEOUT_MS", "10000")
        .with("MONITOR_BUDGET_MS", "20000")
        .with("TENANT_PROFILE_TIMEOUT_MS", "10000");
    HEALTHY.get_or_init(|| patient.start()).await
}

impl Stack {
    async fn stand_in(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/stand-in/{path}", self.info.monitor_api_url);
        let answer = exchange(request(method, &url).json(body)).await;
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
        serde_json::from_str(&answer.text).unwrap_or_default()
    }

    async fn tenant(&self, id: &str, numbers: &[&str]) {
        self.stand_in("PUT", &format!("tenants/{id}"), &json!({ "numbers": numbers })).await;
    }

    async fn fails(&self, fault: &Value) {
        self.stand_in("PUT", "fault", fault).await;
    }

    async fn recovers(&self) {
        self.stand_in("DELETE", "fault", &Value::Null).await;
    }

    async fn calls(&self) -> Value {
        self.stand_in("GET", "calls", &Value::Null).await
    }

    /// Waits until the deep health check, for which a busy machine may be too slow, says this of the Monitor.
    async fn health_of_monitor_is(&self, well: bool) {
        eventually("the health of the Monitor", async || {
            let answer = exchange(request("GET", &format!("{}/health?deep=true", self.info.api_url))).await;
            (well == (answer.json()["checks"]["monitor"] == "ok")).then_some(())
        })
        .await;
    }

    /// The languages that a tenant's profile was told and took.
    async fn told(&self, tenant: &str) -> Vec<String> {
        let calls = self.calls().await;
        let told = calls["profiles"].as_array().unwrap().iter();
        let taken = told.filter(|told| told["tenant_id"] == tenant && told["status"] == 204);
        taken.map(|told| told["language"].as_str().unwrap().to_owned()).collect()
    }

    async fn becomes_of(&self, handset: &str, tenant: &str) -> Value {
        self.conversation_where(handset, |page| page["tenant_id"] == tenant).await
    }
}

/// Whether the health check, which looks for an answer and not for its sense, sees a fault.
fn is_broken(fault: &Value) -> bool {
    fault["kind"] == "down" || fault["kind"] == "slow" || fault["status"] == 500
}

/// A tenant's id that no other test has.
fn fresh_tenant() -> String {
    format!("T-{}", &fresh_sid()[20..])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_known_by_their_first_text_and_asked_about_once() {
    let stack = healthy().await;
    let (handset, tenant) = (fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&handset]).await;
    for text in ["The heating is off since this morning", "Is anybody coming to repair it today?"] {
        stack.text(&handset, text).await;
        let page = stack.becomes_of(&handset, &tenant).await;
        assert_eq!(page["language_detected"], "en", "{page:#}");
    }
    stack.conversation_where(&handset, |page| page["total"] == 2).await;
    let sql = stack.sql().await;
    let used =
        "select count(*) from sms_tenant_numbers n join sms_conversations c on c.id = n.conversation_id
        where n.tenant_id = $1 and n.last_used_at = c.last_message_at";
    sql.reaches(used, &[&tenant], 1).await;
    eventually("the profile is told", async || (stack.told(&tenant).await == ["en"]).then_some(())).await;
    assert_eq!(stack.calls().await["lookups"][&handset], 1, "the second text finds it known");
    assert_eq!(sql.count(EVENTS_OF, &[&handset]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_match_updates_the_same_conversation_once() {
    let stack = healthy().await;
    let (handset, tenant) = (fresh_handset(), fresh_tenant());
    stack.text(&handset, "Good morning, the door does not close any more").await;
    let unknown = stack.conversation_where(&handset, |page| page["total"] == 1).await;
    assert_eq!(unknown["tenant_id"], Value::Null);
    eventually("the Monitor was asked", async || stack.calls().await["lookups"].get(&handset).map(drop))
        .await;
    // Known by the last of the spellings only.
    stack.tenant(&tenant, &[handset.trim_start_matches('+')]).await;
    let known = stack.becomes_of(&handset, &tenant).await;
    assert_eq!((&known["conversation_id"], &known["total"]), (&unknown["conversation_id"], &json!(1)));
    assert_eq!(stack.sql().await.count(EVENTS_OF, &[&handset]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_two_tenants_claim_is_nobodys_until_one_lets_go() {
    let stack = healthy().await;
    let (handset, one, other) = (fresh_handset(), fresh_tenant(), fresh_tenant());
    stack.tenant(&one, &[&handset]).await;
    stack.tenant(&other, &[&handset]).await;
    stack.text(&handset, "Hello").await;
    let sql = stack.sql().await;
    let ambiguous = "select count(*) from sms_conversations where phone_number_canonical = $1
        and tenant_id is null and jsonb_array_length(tenant_candidates) = 2";
    sql.reaches(ambiguous, &[&handset], 1).await;
    assert_eq!(sql.count(EVENTS_OF, &[&handset]).await, 0);
    stack.stand_in("DELETE", &format!("tenants/{one}"), &Value::Null).await;
    // A day has passed.
    let tomorrow =
        "update sms_conversations set tenant_next_check_at = now() where phone_number_canonical = $1";
    sql.client.execute(tomorrow, &[&handset]).await.unwrap();
    stack.becomes_of(&handset, &other).await;
    assert_eq!(sql.count(EVENTS_OF, &[&handset]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_language_goes_with_them_to_their_other_number() {
    let stack = healthy().await;
    let (first, second, tenant) = (fresh_handset(), fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&first, &second]).await;
    stack.text(&first, "Hola buenas tardes, mi calentador no sirve desde ayer").await;
    stack.becomes_of(&first, &tenant).await;
    stack.text(&second, "ok").await;
    let page = stack.conversation_where(&second, |page| page["language_detected"] == "es").await;
    assert_eq!(page["tenant_id"], tenant.as_str());
    stack.text(&second, "Hello, this is my new number, please write to me in English").await;
    stack.conversation_where(&second, |page| page["language_detected"] == "en").await;
    eventually("the profile is told", async || (stack.told(&tenant).await == ["es", "en"]).then_some(()))
        .await;
    let page = stack.conversation(&first).await.unwrap();
    assert_eq!(page["language_detected"], "es", "each number's own words count for more");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_monitor_does_messages_are_stored_at_once_and_their_tenants_known_later() {
    let stack = quick().start().await;
    // What starts with the first text is not to be measured.
    let handset = fresh_handset();
    stack.text(&handset, "Hello").await;
    stack.conversation_where(&handset, |page| page["total"] == 1).await;
    for fault in [
        json!({"kind": "down"}),
        json!({"kind": "slow"}),
        json!({"kind": "status", "status": 500}),
        json!({"kind": "html"}),
        json!({"kind": "wrong-json"}),
        json!({"kind": "huge"}),
        json!({"kind": "empty"}),
        json!({"kind": "status", "status": 404}),
    ] {
        let handsets: Vec<String> = (0..12).map(|_| fresh_handset()).collect();
        let tenant = fresh_tenant();
        let numbers: Vec<&str> = handsets.iter().map(String::as_str).collect();
        stack.tenant(&tenant, &numbers).await;
        stack.fails(&fault).await;
        stack.health_of_monitor_is(!is_broken(&fault)).await;
        for handset in &handsets {
            stack.accepts(&stack.incoming(handset, &fresh_sid(), "The sink leaks again")).await;
        }
        for handset in &handsets {
            let page = stack.conversation_where(handset, |page| page["total"] == 1).await;
            assert_eq!(page["tenant_id"], Value::Null, "{fault}");
        }
        stack.recovers().await;
        stack.health_of_monitor_is(true).await;
        let sql = stack.sql().await;
        for handset in &handsets {
            stack.becomes_of(handset, &tenant).await;
            assert_eq!(sql.count(EVENTS_OF, &[handset]).await, 1, "{fault}");
            assert_eq!(sql.count(INBOUND_OF, &[handset]).await, 1, "{fault}");
        }
    }
    stack.queues_are_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_could_not_be_told_is_told_by_the_schedule() {
    let stack = quick().start().await;
    let (handset, tenant) = (fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&handset]).await;
    stack.text(&handset, "ok").await;
    stack.becomes_of(&handset, &tenant).await;
    stack.fails(&json!({"kind": "status", "status": 503})).await;
    stack.text(&handset, "Bom dia, o chuveiro não está funcionando desde ontem").await;
    eventually("the profile refuses", async || {
        let calls = stack.calls().await;
        calls["profiles"].as_array().unwrap().iter().any(|told| told["status"] == 503).then_some(())
    })
    .await;
    assert!(stack.told(&tenant).await.is_empty());
    stack.recovers().await;
    eventually("the profile is told", async || (stack.told(&tenant).await == ["pt"]).then_some(())).await;
    let tenants = stack.stand_in("GET", "tenants", &Value::Null).await;
    assert_eq!(tenants[&tenant]["language_preference"], "pt");
    stack.queues_are_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_language_survives_the_death_of_the_schedule_that_was_to_settle_it() {
    let stack = quick().start().await;
    let (first, second, tenant) = (fresh_handset(), fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&first]).await;
    stack.text(&first, "ok").await;
    stack.becomes_of(&first, &tenant).await;
    stack.text(&second, "Bom dia, o chuveiro não está funcionando desde ontem").await;
    stack.conversation_where(&second, |page| page["language_detected"] == "pt").await;
    let sql = stack.sql().await;
    let asked =
        "select count(*) from sms_conversations where phone_number_canonical = $1 and tenant_vain_checks > 0";
    sql.reaches(asked, &[&second], 1).await;
    let confirmed = "select count(*) from sms_conversations where phone_number_canonical = $1 and tenant_found_by is null";
    sql.reaches(confirmed, &[&first], 1).await;
    // Whoever finds out whose the second number is can't go on to the first one.
    let mut holder = stack.sql().await;
    let lock = holder.client.transaction().await.unwrap();
    let held = "select from sms_conversations where phone_number_canonical = $1 for update";
    lock.execute(held, &[&first]).await.unwrap();
    stack.tenant(&tenant, &[&first, &second]).await;
    stack.becomes_of(&second, &tenant).await;
    let settling = "from pg_stat_activity where wait_event_type = 'Lock' and query like '%with tenant as (%'";
    sql.reaches(&format!("select least(count(*), 1) {settling}"), &[], 1).await;
    stack.kill("reconcile-tenants").await;
    sql.client.execute(&format!("select pg_terminate_backend(pid) {settling}"), &[]).await.unwrap();
    lock.rollback().await.unwrap();

    stack.conversation_where(&first, |page| page["language_detected"] == "pt").await;
    eventually("the profile is told", async || (stack.told(&tenant).await == ["pt"]).then_some(())).await;
    sql.reaches("select count(*) from sms_conversations where tenant_unsettled_at is not null", &[], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_two_tenants_by_different_spellings_is_found_out_a_moment_later() {
    let stack = healthy().await;
    let (handset, one, other) = (fresh_handset(), fresh_tenant(), fresh_tenant());
    stack.tenant(&one, &[&handset]).await;
    stack.tenant(&other, &[handset.trim_start_matches("+1")]).await;
    stack.text(&handset, "Hello").await;
    let ambiguous = "select count(*) from sms_conversations where phone_number_canonical = $1
        and tenant_id is null and tenant_candidates = jsonb_build_array($2::text, $3::text)";
    stack.sql().await.reaches(ambiguous, &[&handset, &one, &other], 1).await;
}
