//! Tenant identification. A slow or failing Monitor delays it, but never a message.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::client::{INBOUND_OF, fresh_handset, fresh_sid, request, send_request};
use crate::stack::{Setup, Stack, eventually};

const EVENTS_OF: &str = "select count(*)
    from (select conversation_id, event_type from sms_events
        union all select conversation_id, event_type from sms_events_pending) e
    join sms_conversations c on c.id = e.conversation_id
    where c.phone_number_canonical = $1 and e.event_type = 'conversation.tenant_identified'";

/// A setup with intervals of seconds instead of minutes and hours.
fn fast() -> Setup {
    Setup::fast()
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

/// Returns the shared stack of the tests without faults. Its timeouts are long.
async fn healthy() -> &'static Stack {
    let setup = fast()
        .with("MONITOR_TIMEOUT_MS", "10000")
        .with("MONITOR_BUDGET_MS", "20000")
        .with("TENANT_PROFILE_TIMEOUT_MS", "10000");
    HEALTHY.get_or_init(|| setup.start()).await
}

impl Stack {
    async fn stand_in(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/stand-in/{path}", self.info.monitor_api_url);
        let response = send_request(request(method, &url).json(body)).await;
        assert!(matches!(response.status, 200 | 204), "{response:?}");
        serde_json::from_str(&response.text).unwrap_or_default()
    }

    async fn tenant(&self, id: &str, numbers: &[&str]) {
        self.stand_in("PUT", &format!("tenants/{id}"), &json!({ "numbers": numbers })).await;
    }

    async fn set_monitor_fault(&self, fault: &Value) {
        self.stand_in("PUT", "fault", fault).await;
    }

    async fn clear_monitor_fault(&self) {
        self.stand_in("DELETE", "fault", &Value::Null).await;
    }

    async fn monitor_calls(&self) -> Value {
        self.stand_in("GET", "calls", &Value::Null).await
    }

    /// Waits until the deep health check reports the Monitor as healthy or not.
    async fn wait_for_monitor_health(&self, is_healthy: bool) {
        eventually("the health check reports the Monitor correctly", async || {
            let response =
                send_request(request("GET", &format!("{}/health?deep=true", self.info.api_url))).await;
            (is_healthy == (response.json()["checks"]["monitor"] == "ok")).then_some(())
        })
        .await;
    }

    /// Returns the languages of a tenant's successful profile updates.
    async fn profile_languages(&self, tenant: &str) -> Vec<String> {
        let calls = self.monitor_calls().await;
        let updates = calls["profiles"].as_array().unwrap().iter();
        let successful = updates.filter(|update| update["tenant_id"] == tenant && update["status"] == 204);
        successful.map(|update| update["language"].as_str().unwrap().to_owned()).collect()
    }

    async fn wait_for_tenant(&self, handset: &str, tenant: &str) -> Value {
        self.wait_for_conversation(handset, |page| page["tenant_id"] == tenant).await
    }
}

/// Returns whether the health check detects a fault. It does not read the response body.
fn is_detected(fault: &Value) -> bool {
    fault["kind"] == "down" || fault["kind"] == "slow" || fault["status"] == 500
}

/// Returns a unique tenant ID.
fn fresh_tenant() -> String {
    format!("T-{}", &fresh_sid()[20..])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_identified_by_the_first_message_with_one_lookup() {
    let stack = healthy().await;
    let (handset, tenant) = (fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&handset]).await;
    for text in ["The heating is off since this morning", "Is anybody coming to repair it today?"] {
        stack.send_from_handset(&handset, text).await;
        let page = stack.wait_for_tenant(&handset, &tenant).await;
        assert_eq!(page["language_detected"], "en", "{page:#}");
    }
    stack.wait_for_conversation(&handset, |page| page["total"] == 2).await;
    let sql = stack.sql().await;
    let used =
        "select count(*) from sms_tenant_numbers n join sms_conversations c on c.id = n.conversation_id
        where n.tenant_id = $1 and n.last_used_at = c.last_message_at";
    sql.wait_for_count(used, &[&tenant], 1).await;
    eventually("the profile is updated", async || {
        (stack.profile_languages(&tenant).await == ["en"]).then_some(())
    })
    .await;
    assert_eq!(
        stack.monitor_calls().await["lookups"][&handset],
        1,
        "the second message must not cause another lookup"
    );
    assert_eq!(sql.count(EVENTS_OF, &[&handset]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_match_updates_the_existing_conversation_once() {
    let stack = healthy().await;
    let (handset, tenant) = (fresh_handset(), fresh_tenant());
    stack.send_from_handset(&handset, "Good morning, the proxy does not close any more").await;
    let unknown = stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
    assert_eq!(unknown["tenant_id"], Value::Null);
    eventually("the Monitor has received a lookup", async || {
        stack.monitor_calls().await["lookups"].get(&handset).map(drop)
    })
    .await;
    // Only the last spelling matches.
    stack.tenant(&tenant, &[handset.trim_start_matches('+')]).await;
    let known = stack.wait_for_tenant(&handset, &tenant).await;
    assert_eq!((&known["conversation_id"], &known["total"]), (&unknown["conversation_id"], &json!(1)));
    assert_eq!(stack.sql().await.count(EVENTS_OF, &[&handset]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_number_has_no_tenant_until_one_match_is_left() {
    let stack = healthy().await;
    let (handset, one, other) = (fresh_handset(), fresh_tenant(), fresh_tenant());
    stack.tenant(&one, &[&handset]).await;
    stack.tenant(&other, &[&handset]).await;
    stack.send_from_handset(&handset, "Hello").await;
    let sql = stack.sql().await;
    let ambiguous = "select count(*) from sms_conversations where phone_number_canonical = $1
        and tenant_id is null and jsonb_array_length(tenant_candidates) = 2";
    sql.wait_for_count(ambiguous, &[&handset], 1).await;
    assert_eq!(sql.count(EVENTS_OF, &[&handset]).await, 0);
    stack.stand_in("DELETE", &format!("tenants/{one}"), &Value::Null).await;
    // Make the daily check due.
    let make_due =
        "update sms_conversations set tenant_next_check_at = now() where phone_number_canonical = $1";
    sql.client.execute(make_due, &[&handset]).await.unwrap();
    stack.wait_for_tenant(&handset, &other).await;
    assert_eq!(sql.count(EVENTS_OF, &[&handset]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_language_applies_to_their_other_numbers() {
    let stack = healthy().await;
    let (first, second, tenant) = (fresh_handset(), fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&first, &second]).await;
    stack.send_from_handset(&first, "Hola buenas tardes, mi calentador no sirve desde ayer").await;
    stack.wait_for_tenant(&first, &tenant).await;
    stack.send_from_handset(&second, "ok").await;
    let page = stack.wait_for_conversation(&second, |page| page["language_detected"] == "es").await;
    assert_eq!(page["tenant_id"], tenant.as_str());
    stack.send_from_handset(&second, "Hello, this is my new number, please write to me in English").await;
    stack.wait_for_conversation(&second, |page| page["language_detected"] == "en").await;
    eventually("the profile is updated", async || {
        (stack.profile_languages(&tenant).await == ["es", "en"]).then_some(())
    })
    .await;
    let page = stack.conversation(&first).await.unwrap();
    assert_eq!(page["language_detected"], "es", "messages from the number itself take precedence");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_stored_immediately_whatever_the_monitor_does() {
    let stack = fast().start().await;
    // Exclude the cold start.
    let handset = fresh_handset();
    stack.send_from_handset(&handset, "Hello").await;
    stack.wait_for_conversation(&handset, |page| page["total"] == 1).await;
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
        stack.set_monitor_fault(&fault).await;
        stack.wait_for_monitor_health(!is_detected(&fault)).await;
        for handset in &handsets {
            stack
                .deliver_webhook(&stack.inbound_webhook(handset, &fresh_sid(), "The sink leaks again"))
                .await;
        }
        for handset in &handsets {
            let page = stack.wait_for_conversation(handset, |page| page["total"] == 1).await;
            assert_eq!(page["tenant_id"], Value::Null, "{fault}");
        }
        stack.clear_monitor_fault().await;
        stack.wait_for_monitor_health(true).await;
        let sql = stack.sql().await;
        for handset in &handsets {
            stack.wait_for_tenant(handset, &tenant).await;
            assert_eq!(sql.count(EVENTS_OF, &[handset]).await, 1, "{fault}");
            assert_eq!(sql.count(INBOUND_OF, &[handset]).await, 1, "{fault}");
        }
    }
    stack.wait_for_empty_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_profile_update_is_retried_on_schedule() {
    let stack = fast().start().await;
    let (handset, tenant) = (fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&handset]).await;
    stack.send_from_handset(&handset, "ok").await;
    stack.wait_for_tenant(&handset, &tenant).await;
    stack.set_monitor_fault(&json!({"kind": "status", "status": 503})).await;
    stack.send_from_handset(&handset, "Bom dia, o chuveiro não está funcionando desde ontem").await;
    eventually("a profile update has failed", async || {
        let calls = stack.monitor_calls().await;
        calls["profiles"].as_array().unwrap().iter().any(|update| update["status"] == 503).then_some(())
    })
    .await;
    assert!(stack.profile_languages(&tenant).await.is_empty());
    stack.clear_monitor_fault().await;
    eventually("the profile is updated", async || {
        (stack.profile_languages(&tenant).await == ["pt"]).then_some(())
    })
    .await;
    let tenants = stack.stand_in("GET", "tenants", &Value::Null).await;
    assert_eq!(tenants[&tenant]["language_preference"], "pt");
    stack.wait_for_empty_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_language_is_updated_even_if_reconcile_tenants_is_killed() {
    let stack = fast().start().await;
    let (first, second, tenant) = (fresh_handset(), fresh_handset(), fresh_tenant());
    stack.tenant(&tenant, &[&first]).await;
    stack.send_from_handset(&first, "ok").await;
    stack.wait_for_tenant(&first, &tenant).await;
    stack.send_from_handset(&second, "Bom dia, o chuveiro não está funcionando desde ontem").await;
    stack.wait_for_conversation(&second, |page| page["language_detected"] == "pt").await;
    let sql = stack.sql().await;
    let checked =
        "select count(*) from sms_conversations where phone_number_canonical = $1 and tenant_vain_checks > 0";
    sql.wait_for_count(checked, &[&second], 1).await;
    let confirmed = "select count(*) from sms_conversations where phone_number_canonical = $1 \
        and tenant_found_by is null";
    sql.wait_for_count(confirmed, &[&first], 1).await;
    // The lock stops the run that identifies the second number before it updates the first conversation.
    let mut holder = stack.sql().await;
    let lock = holder.client.transaction().await.unwrap();
    let held = "select from sms_conversations where phone_number_canonical = $1 for update";
    lock.execute(held, &[&first]).await.unwrap();
    stack.tenant(&tenant, &[&first, &second]).await;
    stack.wait_for_tenant(&second, &tenant).await;
    let settling = "from pg_stat_activity where wait_event_type = 'Lock' and query like '%with tenant as (%'";
    sql.wait_for_count(&format!("select least(count(*), 1) {settling}"), &[], 1).await;
    stack.kill("reconcile-tenants").await;
    sql.client.execute(&format!("select pg_terminate_backend(pid) {settling}"), &[]).await.unwrap();
    lock.rollback().await.unwrap();

    stack.wait_for_conversation(&first, |page| page["language_detected"] == "pt").await;
    eventually("the profile is updated", async || {
        (stack.profile_languages(&tenant).await == ["pt"]).then_some(())
    })
    .await;
    sql.wait_for_count(
        "select count(*) from sms_conversations where tenant_unsettled_at is not null",
        &[],
        0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_different_spellings_of_a_number_are_found_ambiguous() {
    let stack = healthy().await;
    let (handset, one, other) = (fresh_handset(), fresh_tenant(), fresh_tenant());
    stack.tenant(&one, &[&handset]).await;
    stack.tenant(&other, &[handset.trim_start_matches("+1")]).await;
    stack.send_from_handset(&handset, "Hello").await;
    let ambiguous = "select count(*) from sms_conversations where phone_number_canonical = $1
        and tenant_id is null and tenant_candidates = jsonb_build_array($2::text, $3::text)";
    stack.sql().await.wait_for_count(ambiguous, &[&handset, &one, &other], 1).await;
}
