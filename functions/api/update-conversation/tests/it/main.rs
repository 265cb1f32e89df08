//! Tests of the binary through the Runtime API.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::time::Duration;
use testing::{ApiRequest, Database, Function, body, environment, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_update-conversation");
const TENANT: &str = "+12035550123";
const CONVERSATION: &str = "01900000-0000-7000-8000-00000000000c";

struct World {
    function: Function,
    database: Database,
}

impl World {
    /// Starts with a conversation whose settings were all set by a router.
    async fn start() -> Self {
        let database = Database::create().await;
        let row = format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, \
                workflow_type, \
                workflow_id, conversation_status, time_zone, created_at) \
             values ('{CONVERSATION}', 'AC1', '{TENANT}', '(203) 555-0123', 'leasing', 'l-1', 'waiting', \
             'Europe/Lisbon', \
                '2026-11-01T12:00:00Z')"
        );
        database.client.batch_execute(&row).await.unwrap();
        let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", &database.url())];
        Self { function: Function::start(BINARY, &variables).await, database }
    }

    async fn patch(&mut self, number: &str, changes: &Value) -> Value {
        self.function.call(patch(number).json(changes).event()).await
    }

    /// The stored settings.
    async fn kept(&self) -> String {
        let kept = "select concat_ws(' ', coalesce(workflow_type, '-'), coalesce(workflow_id, '-'), \
            conversation_status, \
            coalesce(time_zone, '-')) from sms_conversations";
        self.database.scalar(kept).await
    }

    /// Stores a message that is due in some hours, because of quiet hours or not.
    async fn waiting(&self, id: &str, is_put_off: bool, state: &str) {
        let row = format!(
            "insert into sms_messages (id, conversation_id, direction, to_number, message_content, next_attempt_at, \
                quiet_until, created_at, {columns}) \
             select '{id}', '{CONVERSATION}', 'outbound', '{TENANT}', 'x', due, case when {is_put_off} then due end, \
                now(), {values} from (values (now() + interval '5 hours')) t (due)",
            columns = if state == "claimed" { "delivery_status, claimed_at" } else { "delivery_status" },
            values = if state == "claimed" { "'pending', now()".to_owned() } else { format!("'{state}'") },
        );
        self.database.client.batch_execute(&row).await.unwrap();
    }

    /// The messages that are due.
    async fn due(&self) -> String {
        let due = "select coalesce(string_agg(right(id::text, 1), ',' order by id), '') from sms_messages
            where next_attempt_at <= now() and quiet_until is null";
        self.database.scalar(due).await
    }
}

fn patch(number: &str) -> ApiRequest {
    ApiRequest::new("PATCH", &format!("/conversations/{number}"))
        .scopes("conversations:write")
        .path_parameter("phone_number", number)
}

#[tokio::test]
async fn given_fields_are_set_null_clears_and_absent_fields_stay() {
    let mut world = World::start().await;
    for (changes, kept) in [
        (json!({}), "leasing l-1 waiting Europe/Lisbon"),
        (json!({"workflow_id": "l-2"}), "leasing l-2 waiting Europe/Lisbon"),
        (json!({"workflow_type": null, "workflow_id": null}), "- - waiting Europe/Lisbon"),
        (
            json!({"workflow_type": "collections", "workflow_id": "Case 17 / ü", "conversation_status": "on_hold_2"}),
            "collections Case 17 / ü on_hold_2 Europe/Lisbon",
        ),
        (json!({"conversation_status": null}), "collections Case 17 / ü open Europe/Lisbon"),
        (json!({"time_zone": "america/chicago"}), "collections Case 17 / ü open America/Chicago"),
        (json!({"time_zone": null}), "collections Case 17 / ü open -"),
    ] {
        let reply = world.patch(TENANT, &changes).await;
        assert_eq!(reply["statusCode"], 200, "{changes}: {reply}");
        assert_eq!(world.kept().await, kept, "{changes}");
    }
}

#[tokio::test]
async fn the_response_is_the_conversation_without_messages() {
    let mut world = World::start().await;
    let changes = json!({"workflow_type": "collections", "time_zone": "America/Chicago"});
    let reply = world.function.call(patch(TENANT).json(&changes).event()).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    assert_eq!(
        body(&reply),
        json!({
            "phone_number_canonical": TENANT, "phone_number_original": "(203) 555-0123",
            "conversation_id": CONVERSATION, "tenant_id": null, "tenant_candidates": null,
            "workflow_type": "collections", "workflow_id": "l-1", "conversation_status": "waiting",
            "time_zone": "America/Chicago", "language_detected": "unknown", "language_confidence": 0.0,
            "opted_out": false, "carrier_blocked_at": null, "number_deactivated_at": null, "last_message_at": null,
            "total": 0,
        })
    );
}

#[tokio::test]
async fn a_conversation_is_found_by_any_format_of_its_number_in_its_account_only() {
    let mut world = World::start().await;
    for number in ["+12035550123", "2035550123", "(203) 555-0123", "%2B12035550123", "011 1 203 555 0123"] {
        assert_eq!(world.patch(number, &json!({})).await["statusCode"], 200, "{number}");
    }
    for number in ["+12035550124", "40404", "hello", "%"] {
        let reply = world.patch(number, &json!({"workflow_type": "x"})).await;
        assert_eq!(refusal(&reply), "404 sms.not_found", "{number}");
    }
    let nul = refusal(&world.patch("+1203555\u{0}0123", &json!({})).await);
    assert_eq!(nul, "400 sms.validation_error\n  phone_number: contains a NUL character");
    world.database.client.batch_execute("update sms_conversations set account_sid = 'AC2'").await.unwrap();
    let reply = world.patch(TENANT, &json!({"workflow_type": "x"})).await;
    assert_eq!(refusal(&reply), "404 sms.not_found");
    assert_eq!(world.kept().await, "leasing l-1 waiting Europe/Lisbon");
}

#[tokio::test]
async fn all_invalid_fields_are_reported_and_nothing_changes() {
    let mut world = World::start().await;
    let status = "conversation_status: must be 1 to 64 lower-case letters, digits and underscores, starting with a \
        letter";
    let zone = "time_zone: is not an IANA time zone such as America/Chicago";
    let (long, too_long) = ("x".repeat(255), "x".repeat(256));
    for (changes, details) in [
        (json!({"workflow_type": 1}), "workflow_type: must be a string, not a number"),
        (json!({"workflow_type": " "}), "workflow_type: is blank; null clears it"),
        (json!({"workflow_id": too_long}), "workflow_id: has more than 255 characters"),
        (json!({"workflow_id": "a\u{0}"}), "workflow_id: contains a NUL character"),
        (json!({"conversation_status": ""}), status),
        (json!({"conversation_status": "Closed"}), status),
        (json!({"conversation_status": "7days"}), status),
        (json!({"conversation_status": "é"}), status),
        (json!({"conversation_status": "x".repeat(65)}), status),
        (json!({"time_zone": "EST5EDT,M3.2.0"}), zone),
        (json!({"time_zone": ""}), zone),
        (json!({"tenant_id": null}), "tenant_id: is not a field of this request"),
        (
            json!({"workflow_type": "new", "time_zone": "Mars/Olympus", "status": "x"}),
            "time_zone: is not an IANA time zone such as America/Chicago\n  status: is not a field of this request",
        ),
    ] {
        let reply = world.patch(TENANT, &changes).await;
        assert_eq!(refusal(&reply), format!("400 sms.validation_error\n  {details}"), "{changes}");
    }
    for (request, response) in [
        (patch(TENANT), "400 sms.validation_error\n  request body: is missing"),
        (patch(TENANT).body("[]"), "400 sms.validation_error\n  request body: is not a JSON object"),
        (patch(TENANT).body(&"x".repeat(300_000)), "413 sms.payload_too_large"),
        (patch(TENANT).json(&json!({})).scopes("conversations:read"), "403 sms.forbidden"),
    ] {
        assert_eq!(refusal(&world.function.call(request.event()).await), response);
    }
    assert_eq!(world.kept().await, "leasing l-1 waiting Europe/Lisbon");
    let longest = json!({"workflow_id": long, "conversation_status": "x".repeat(64)});
    assert_eq!(world.patch(TENANT, &longest).await["statusCode"], 200);
}

#[tokio::test]
async fn a_new_time_zone_reschedules_only_messages_that_wait_for_quiet_hours() {
    let mut world = World::start().await;
    for (number, (is_put_off, state)) in
        [(true, "pending"), (false, "pending"), (true, "claimed"), (true, "canceled"), (true, "failed")]
            .into_iter()
            .enumerate()
    {
        let id = format!("00000000-0000-0000-0000-00000000000{number}");
        world.waiting(&id, is_put_off, state).await;
    }
    // A message that waits for a retry, and no longer for quiet hours.
    world.waiting("00000000-0000-0000-0000-000000000009", true, "pending").await;
    let later = "update sms_messages set next_attempt_at = next_attempt_at + interval '1 minute'
        where right(id::text, 1) = '9'";
    world.database.client.batch_execute(later).await.unwrap();
    world.patch(TENANT, &json!({"time_zone": "Europe/Lisbon", "workflow_id": "l-3"})).await;
    assert_eq!(world.due().await, "", "the clock is the same");
    world.patch(TENANT, &json!({"time_zone": "America/Chicago"})).await;
    assert_eq!(world.due().await, "0");
}

#[tokio::test]
async fn an_unavailable_postgres_is_503_and_missing_configuration_is_reported() {
    let variables = [("TWILIO_ACCOUNT_SID", "AC1"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let mut function = Function::start(BINARY, &variables).await;
    let reply = function.call(patch(TENANT).json(&json!({})).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    let log = json!(function.log().await).to_string();
    assert!(!log.contains("hunter2") && !log.contains("5550123"), "{log}");

    let log = Function::start(BINARY, &[]).await.ended().await;
    assert_eq!(
        log.last().unwrap()["error"],
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; DATABASE_URL is missing"
    );
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<update_conversation::Config>(
        "update-conversation",
        Duration::ZERO,
        environment::API,
    );
}
