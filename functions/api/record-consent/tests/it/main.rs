//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, KEY_ID, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_record-consent");
const TENANT: &str = "+12035550123";
/// The events and what applies now.
const STATE: &str = "select concat_ws(' ', (
    select string_agg(concat_ws(':', event_type, body::jsonb->'data'->>'source'), ',' order by number)
    from sms_events_pending), opted_out_at is not null) from sms_conversations";

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

    async fn post(&mut self, number: &str, consent: &Value) -> Value {
        self.function.call(post(number).json(consent).event()).await
    }
}

fn post(number: &str) -> ApiRequest {
    ApiRequest::new("POST", &format!("/conversations/{number}/consent"))
        .scopes("conversations:write")
        .path_parameter("phone_number", number)
}

fn paper(action: &str) -> Value {
    json!({"action": action, "source": "paper", "evidence": "Letter of 2026-11-20, scan 4711"})
}

#[tokio::test]
async fn an_opt_out_on_paper_applies_to_a_number_that_has_never_written() {
    let mut world = World::start().await;
    let reply = world.post("(203) 555-0123", &paper("opt_out")).await;
    assert_eq!(reply["statusCode"], 201, "{reply}");
    let entry = body(&reply);
    let recorded_at = entry["recorded_at"].clone();
    assert_eq!(
        entry,
        json!({"action": "opt_out", "scope": "all", "source": "paper",
            "evidence": "Letter of 2026-11-20, scan 4711", "recorded_at": recorded_at, "recorded_by": KEY_ID})
    );
    assert_eq!(world.database.scalar(STATE).await, "contact.opted_out:consent t");
    let number = "select phone_number_canonical || ' ' || phone_number_original from sms_conversations";
    assert_eq!(world.database.scalar(number).await, format!("{TENANT} (203) 555-0123"));

    // A repeated request returns the entry, in whatever spelling the number is.
    assert_eq!(body(&world.post(TENANT, &paper("opt_out")).await), entry);
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "1");
    assert_eq!(world.database.scalar(STATE).await, "contact.opted_out:consent t");
}

#[tokio::test]
async fn the_latest_entry_applies_and_only_changes_are_announced() {
    let mut world = World::start().await;
    for (consent, state) in [
        (paper("opt_in"), "f"),
        (paper("opt_out"), "contact.opted_out:consent t"),
        (
            json!({"action": "opt_out", "source": "phone", "evidence": "call 17"}),
            "contact.opted_out:consent t",
        ),
        (
            json!({"action": "opt_in", "source": "paper", "evidence": "scan 2"}),
            "contact.opted_out:consent,contact.opted_in:consent f",
        ),
        (paper("opt_out"), "contact.opted_out:consent,contact.opted_in:consent,contact.opted_out:consent t"),
    ] {
        assert_eq!(world.post(TENANT, &consent).await["statusCode"], 201, "{consent}");
        assert_eq!(world.database.scalar(STATE).await, state, "{consent}");
    }
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "5");
}

#[tokio::test]
async fn a_repeated_opt_in_does_not_end_an_opt_out_that_was_recorded_after_it() {
    let mut world = World::start().await;
    let entry = body(&world.post(TENANT, &paper("opt_in")).await);
    assert_eq!(body(&world.post(TENANT, &paper("opt_in")).await), entry);
    let stop = "insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
        select gen_random_uuid(), id, 'opt_out', 'keyword', 'SM1', now() from sms_conversations";
    world.database.client.batch_execute(stop).await.unwrap();
    let refused = refusal(&world.post(TENANT, &paper("opt_in")).await);
    assert!(refused.starts_with("409 sms.conflict"), "{refused}");
    assert_eq!(world.database.scalar("select opted_out_at is not null from sms_conversations").await, "t");
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "2");
    let again = json!({"action": "opt_in", "source": "paper", "evidence": "scan 2"});
    assert_eq!(world.post(TENANT, &again).await["statusCode"], 201);
    assert_eq!(world.database.scalar("select opted_out_at is null from sms_conversations").await, "t");
}

/// The events with their scopes, and what applies now.
const SCOPES: &str = "select concat_ws(' ', (
        select string_agg(concat_ws(':', event_type, body::jsonb->'data'->>'scope'), ',' order by number)
        from sms_events_pending), opted_out_at is not null, opted_out_scopes::text) from sms_conversations";

fn scoped(action: &str, scope: &str) -> Value {
    json!({"action": action, "source": "paper", "evidence": "scan 1", "scope": scope})
}

#[tokio::test]
async fn an_opt_out_applies_to_a_scope_if_that_is_configured() {
    let mut world = World::with_scopes("workflow,purpose").await;
    for (action, scope, state) in [
        (
            "opt_out",
            "workflow:collections",
            "contact.opted_out:workflow:collections f {workflow:collections}",
        ),
        // Repeated.
        (
            "opt_out",
            "workflow:collections",
            "contact.opted_out:workflow:collections f {workflow:collections}",
        ),
        (
            "opt_in",
            "workflow:collections",
            "contact.opted_out:workflow:collections,contact.opted_in:workflow:collections f {}",
        ),
    ] {
        let reply = world.post(TENANT, &scoped(action, scope)).await;
        assert_eq!((&reply["statusCode"], &body(&reply)["scope"]), (&json!(201), &json!(scope)), "{reply}");
        assert_eq!(world.database.scalar(SCOPES).await, state, "{action} {scope}");
    }
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "2");
    for action in ["opt_out", "opt_in"] {
        world.post(TENANT, &scoped(action, "purpose:marketing")).await;
    }
    world.post(TENANT, &scoped("opt_out", "all")).await;
    assert_eq!(world.database.scalar("select opted_out_at is not null from sms_conversations").await, "t");
}

#[tokio::test]
async fn an_opt_out_with_a_scope_that_is_not_configured_stops_everything_and_says_so() {
    for scopes in ["", "purpose"] {
        let mut world = World::with_scopes(scopes).await;
        let reply = world.post(TENANT, &scoped("opt_out", "workflow:collections")).await;
        assert_eq!((&reply["statusCode"], &body(&reply)["scope"]), (&json!(201), &json!("all")), "{reply}");
        assert_eq!(world.database.scalar(SCOPES).await, "contact.opted_out t {}");
        // An opt-in must not allow more than was stated.
        let refused = refusal(&world.post(TENANT, &scoped("opt_in", "workflow:collections")).await);
        assert_eq!(
            refused,
            "400 sms.validation_error\n  scope: is not in CONSENT_SCOPES, so that an opt-in can only apply to all \
             messages"
        );
        assert_eq!(world.database.scalar(SCOPES).await, "contact.opted_out t {}");
    }
}

#[tokio::test]
async fn consent_is_newer_than_an_entry_with_a_later_clock() {
    let mut world = World::start().await;
    world.post(TENANT, &paper("opt_out")).await;
    let later = "update sms_opt_out_events set created_at = now() + interval '1 minute'";
    world.database.client.batch_execute(later).await.unwrap();
    world.post(TENANT, &paper("opt_in")).await;
    assert_eq!(world.database.scalar("select opted_out_at is null from sms_conversations").await, "t");
}

#[tokio::test]
async fn a_short_code_needs_a_conversation_and_other_texts_are_refused() {
    let mut world = World::start().await;
    for number in ["12345", "ALERTS", "+1203"] {
        let refused = refusal(&world.post(number, &paper("opt_out")).await);
        assert!(
            refused.starts_with(
                "400 sms.validation_error\n  phone_number: has no conversation and can't receive"
            ),
            "{number}: {refused}"
        );
    }
    let row = "insert into sms_conversations (
            id, account_sid, phone_number_canonical, phone_number_original, created_at)
        values (gen_random_uuid(), 'AC1', '12345', '12345', now())";
    world.database.client.batch_execute(row).await.unwrap();
    assert_eq!(world.post("12345", &paper("opt_out")).await["statusCode"], 201);
    assert_eq!(world.database.scalar("select count(*) from sms_conversations").await, "1");
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let mut world = World::start().await;
    for (consent, problems) in [
        (json!({}), "action: is missing\n  source: is missing\n  evidence: is missing"),
        (
            json!({"action": "stop", "source": " ", "evidence": "x".repeat(2001), "scope": "collections", "x": 1}),
            "action: must be opt_out or opt_in\n  source: is blank\n  evidence: has more than 2000 characters\n  \
             scope: must be all, workflow: with a workflow_type of at most 255 characters, or purpose: with service, \
             marketing or emergency\n  x: is not a field of this request",
        ),
    ] {
        let refused = refusal(&world.post(TENANT, &consent).await);
        assert_eq!(refused, format!("400 sms.validation_error\n  {problems}"));
    }
    let forbidden = post(TENANT).scopes("conversations:read").json(&paper("opt_out")).event();
    assert_eq!(refusal(&world.function.call(forbidden).await), "403 sms.forbidden");
    assert_eq!(world.database.scalar("select count(*) from sms_conversations").await, "0");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    let reply = function.call(post(TENANT).json(&paper("opt_out")).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    let log = json!(function.log().await).to_string();
    assert!(!log.contains("hunter2") && !log.contains("5550123") && !log.contains("4711"), "{log}");
    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; DATABASE_URL is missing"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<record_consent::Config>("record-consent", Duration::ZERO, environment::API);
}
