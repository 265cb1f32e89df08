//! Tests of the binary through the Runtime API.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testing::{
    ApiRequest, Behaviour, Database, Function, GATEWAY_REQUEST_ID, KEY_ID, Sqs, body, environment,
    eventually, left_of, refusal,
};

mod idempotency;
mod rate_limits;
mod refusals;

const BINARY: &str = env!("CARGO_BIN_EXE_send-sms");
const OUR_NUMBER: &str = "+18605550100";
const TENANT: &str = "+12035550123";

struct World {
    function: Function,
    sqs: Sqs,
    database: Database,
}

impl World {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(changes: &[(&'static str, String)]) -> Self {
        let (sqs, database) = (Sqs::start().await, Database::create().await);
        let mut environment = environment(&sqs, &database.url());
        environment.extend_from_slice(changes);
        Self { function: start(&environment).await, sqs, database }
    }

    async fn send(&mut self, payload: Value) -> Value {
        self.function.call(sms(&payload).event()).await
    }

    /// Sends a message that must be accepted, and returns the response.
    async fn accepted(&mut self, payload: Value) -> Value {
        let reply = self.send(payload).await;
        assert_eq!(reply["statusCode"], 202, "{reply}");
        body(&reply)
    }

    /// Stores a message that a number has sent to one of ours.
    async fn receive(&self, from: &str, our_number: &str) {
        let store = format!(
            "with conversation as (
                 insert into sms_conversations
                     (id, account_sid, phone_number_canonical, phone_number_original, created_at)
                 values (sms_new_id(), 'AC1', '{from}', '{from}', now()) returning id)
             insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
                 message_content, delivery_status, created_at)
             select sms_new_id(), id, 'inbound', 'SM1', '{from}', '{our_number}', 'x', 'received', now()
             from conversation returning direction"
        );
        assert_eq!(self.database.scalar(&store).await, "inbound");
    }

    async fn rows(&self, table: &str) -> String {
        self.database.scalar(&format!("select count(*) from {table}")).await
    }
}

async fn start(environment: &[(&'static str, String)]) -> Function {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::start(BINARY, &environment).await
}

fn environment(sqs: &Sqs, database_url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("TWILIO_ACCOUNT_SID", "AC1".to_owned()),
        ("TWILIO_PHONE_NUMBER", OUR_NUMBER.to_owned()),
        ("OUTBOUND_QUEUE_URL", sqs.queue("outbound")),
        ("AWS_ENDPOINT_URL_SQS", sqs.url().to_owned()),
        ("DATABASE_URL", database_url.to_owned()),
    ]
}

/// The same with the default time limits for Postgres.
fn hasty_environment(sqs: &Sqs, database_url: &str) -> Vec<(&'static str, String)> {
    let own = ["DATABASE_BUDGET_MS", "DATABASE_CONNECT_TIMEOUT_MS", "DATABASE_STATEMENT_TIMEOUT_MS"];
    let mut environment = environment(sqs, database_url);
    environment.extend(own.map(|name| (name, String::new())));
    environment
}

/// Sends until the refusal takes less than two seconds, because one response may be late on a slow machine.
async fn is_unavailable_in_time(function: &mut Function) {
    eventually("a response in time", async || {
        let before = Instant::now();
        let reply = function.call(sms(&json!({"to": TENANT, "body": "the sink leaks"})).event()).await;
        assert_eq!(refusal(&reply), "503 sms.unavailable");
        assert!(!reply.to_string().contains("hunter2"));
        (before.elapsed() < Duration::from_secs(2)).then_some(())
    })
    .await;
}

fn sms(payload: &Value) -> ApiRequest {
    ApiRequest::new("POST", "/sms/send").scopes("messages:send").json(payload)
}

#[tokio::test]
async fn a_message_is_stored_as_pending_and_put_on_its_queue() {
    let mut world = World::start().await;
    let payload = json!({
        "to": "(203) 555-0123", "body": "Your rent is due on the 1st.",
        "media_urls": ["https://example.com/notice.png"], "workflow_type": "collections", "workflow_id": "c-17",
        "priority": "urgent", "metadata": {"unit": "4B"},
    });
    let reply = world.function.call(sms(&payload).event()).await;
    assert_eq!(reply["statusCode"], 202, "{reply}");
    assert_eq!(reply["headers"]["content-type"], "application/json");
    let response = body(&reply);
    assert_eq!(response["status"], "pending");
    assert_eq!(response["to"], TENANT);
    assert_eq!((&response["encoding"], &response["segments"]), (&json!("GSM-7"), &json!(1)));
    let mut keys: Vec<&str> = response.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["conversation_id", "encoding", "id", "segments", "status", "to", "twilio_sid"]);
    assert_eq!(response["twilio_sid"], Value::Null);

    let stored = "select json_build_object('id', m.id, 'conversation_id', m.conversation_id, 'delivery_status', \
        m.delivery_status, 'from', m.from_number, 'to', m.to_number, 'content', m.message_content, 'media', m.media, \
        'priority', m.priority, 'workflow', m.workflow_type || ' ' || m.workflow_id, 'metadata', m.metadata, \
        'request_id', m.request_id, 'original', c.phone_number_original) \
        from sms_messages m join sms_conversations c on c.id = m.conversation_id";
    let stored: Value = serde_json::from_str(&world.database.scalar(stored).await).unwrap();
    assert_eq!(
        stored,
        json!({
            "id": response["id"], "conversation_id": response["conversation_id"], "delivery_status": "pending",
            "from": OUR_NUMBER, "to": TENANT, "content": "Your rent is due on the 1st.",
            "media": [{"url": "https://example.com/notice.png", "content_type": null}], "priority": "urgent",
            "workflow": "collections c-17", "metadata": {"unit": "4B"}, "request_id": GATEWAY_REQUEST_ID,
            "original": "(203) 555-0123",
        })
    );
    let sent = world.sqs.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].queue_url, world.sqs.queue("outbound"));
    assert_eq!(sent[0].body, json!({"version": "1", "message_id": response["id"], "sender": OUR_NUMBER}));
    assert_eq!(sent[0].request_id.as_deref(), Some(GATEWAY_REQUEST_ID));
}

#[tokio::test]
async fn optional_fields_and_unusual_values_are_accepted() {
    let mut world = World::start().await;
    let first = world.accepted(json!({"to": TENANT, "body": "a"})).await;
    for (payload, encoding, segments) in [
        (json!({"to": "1-203-555-0123", "body": "x".repeat(1600)}), "GSM-7", 11),
        (json!({"to": TENANT, "body": "🏠".repeat(1600)}), "UCS-2", 49),
        (json!({"to": TENANT, "media_urls": ["http://example.com/a?b=c"]}), "GSM-7", 1),
        (json!({"to": TENANT, "body": " ", "media_urls": ["https://example.com/a"]}), "GSM-7", 1),
        (json!({"to": TENANT, "body": "olá ção", "from": "(860) 555-0100", "metadata": {}}), "UCS-2", 1),
        (
            json!({"to": TENANT, "body": "x", "media_urls": [], "send_at": null, "priority": "bulk"}),
            "GSM-7",
            1,
        ),
        (json!({"to": TENANT, "body": "x", "conversation_id": first["conversation_id"]}), "GSM-7", 1),
    ] {
        let response = world.accepted(payload.clone()).await;
        assert_eq!(
            (&response["encoding"], &response["segments"]),
            (&json!(encoding), &json!(segments)),
            "{payload}"
        );
        assert_eq!(response["conversation_id"], first["conversation_id"]);
    }
    assert_eq!(world.sqs.sent().len(), 8);
}

#[tokio::test]
async fn smart_encoding_replaces_characters_before_the_text_is_counted_and_stored() {
    let mut world = World::with(&[("SMART_ENCODING", "punctuation".to_owned())]).await;
    let text = "“Olá” – não pague";
    for (choice, expected, encoding) in [
        (json!(null), text, "UCS-2"),
        (json!("none"), text, "UCS-2"),
        (json!("all"), "\"Ola\" - nao pague", "GSM-7"),
    ] {
        let response = world.accepted(json!({"to": TENANT, "body": text, "smart_encoding": choice})).await;
        assert_eq!(response["encoding"], encoding);
        let stored = format!(
            "select message_content from sms_messages where id = '{}'",
            response["id"].as_str().unwrap()
        );
        assert_eq!(world.database.scalar(&stored).await, expected);
    }
    let response = world.accepted(json!({"to": TENANT, "body": "It’s due"})).await;
    assert_eq!(response["encoding"], "GSM-7", "the default of the environment");
    let longest = "…".repeat(1600);
    let response = world.accepted(json!({"to": TENANT, "body": longest})).await;
    assert_eq!(response["encoding"], "UCS-2", "the replacement would be too long");
    let longest = format!("Man\u{303}ana{}", "…".repeat(1593));
    let response = world.accepted(json!({"to": TENANT, "body": longest})).await;
    let stored =
        format!("select message_content from sms_messages where id = '{}'", response["id"].as_str().unwrap());
    assert_eq!(
        world.database.scalar(&stored).await,
        longest.replace("n\u{303}", "ñ"),
        "accents are composed in any case"
    );
    let reply = world.send(json!({"to": TENANT, "body": "x", "smart_encoding": "some"})).await;
    assert_eq!(reply["statusCode"], 400, "{reply}");
}

#[tokio::test]
async fn decomposed_accents_are_composed_before_the_text_is_counted_and_stored() {
    let mut world = World::start().await;
    for choice in [json!(null), json!("none"), json!("punctuation"), json!("all")] {
        let text = "Man\u{303}ana a las 9";
        let response = world.accepted(json!({"to": TENANT, "body": text, "smart_encoding": choice})).await;
        assert_eq!((&response["encoding"], &response["segments"]), (&json!("GSM-7"), &json!(1)), "{choice}");
        let stored = format!(
            "select message_content from sms_messages where id = '{}'",
            response["id"].as_str().unwrap()
        );
        assert_eq!(world.database.scalar(&stored).await, "Mañana a las 9");
    }
}

#[tokio::test]
async fn the_messaging_service_is_the_default_sender() {
    let service = ("TWILIO_MESSAGING_SERVICE_SID", "MG1".to_owned());
    let mut world = World::with(&[service]).await;
    let sender = "select string_agg(concat_ws('/', from_number, messaging_service_sid), ' ' order by created_at, id) \
        from sms_messages";
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    world.accepted(json!({"to": TENANT, "body": "x", "from": "MG1"})).await;
    world.accepted(json!({"to": TENANT, "body": "x", "from": OUR_NUMBER})).await;
    assert_eq!(world.database.scalar(sender).await, format!("MG1 MG1 {OUR_NUMBER}"));
}

#[tokio::test]
async fn a_conversation_keeps_the_number_that_it_used_last() {
    let both = format!("{OUR_NUMBER},+18605550177");
    let mut world = World::with(&[("TWILIO_PHONE_NUMBER", both)]).await;
    let last = "select from_number from sms_messages where direction = 'outbound' order by created_at desc, id desc \
        limit 1";
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    assert_eq!(world.database.scalar(last).await, OUR_NUMBER, "a new conversation");
    let other = "+12035550125";
    world.receive(other, "+18605550177").await;
    let response = world.accepted(json!({"to": other, "body": "x"})).await;
    assert_eq!(world.database.scalar(last).await, "+18605550177");
    assert_eq!(response.get("replaced_from"), None);
    world.accepted(json!({"to": TENANT, "body": "x", "from": "+18605550177"})).await;
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    assert_eq!(world.database.scalar(last).await, "+18605550177", "the sender that the last request named");
}

#[tokio::test]
async fn a_number_that_is_not_configured_any_more_is_replaced_and_named() {
    let mut world = World::start().await;
    let former = "+18605550177";
    world.receive(TENANT, former).await;
    let request = sms(&json!({"to": TENANT, "body": "x"})).header("idempotency-key", "k");
    let response = body(&world.function.call(request.event()).await);
    assert_eq!(response["replaced_from"], former, "{response}");
    let stored = "select from_number || ' ' || replaced_from from sms_messages where direction = 'outbound'";
    assert_eq!(world.database.scalar(stored).await, format!("{OUR_NUMBER} {former}"));
    let logged = eventually("a warning", async || {
        world.function.log().await.into_iter().find(|line| line["level"] == "WARN")
    })
    .await;
    assert_eq!((&logged["sender"], &logged["replaced"]), (&json!("0100"), &json!("0177")), "{logged}");

    assert_eq!(body(&world.function.call(request.event()).await), response, "the first response again");
    let next = world.accepted(json!({"to": TENANT, "body": "y"})).await;
    assert_eq!(next.get("replaced_from"), None, "the conversation uses the new number now");
}

#[tokio::test]
async fn recipients_must_be_in_an_allowed_country() {
    let (uk, canada, jamaica) = ("+447400123456", "+12045550123", "+18765550123");
    let mut world = World::start().await;
    for (to, country) in [(uk, "GB"), (canada, "CA"), (jamaica, "JM")] {
        let reason = format!("can't be sent to: {country} is not in RECIPIENT_COUNTRIES");
        let refused = refusal(&world.send(json!({"to": to, "body": "x"})).await);
        assert_eq!(refused, format!("400 sms.validation_error\n  to: {reason}"));
    }
    assert_eq!(world.rows("sms_messages").await, "0");
    let mut world = World::with(&[("RECIPIENT_COUNTRIES", "GB, ca".to_owned())]).await;
    world.accepted(json!({"to": uk, "body": "x"})).await;
    world.accepted(json!({"to": canada, "body": "x"})).await;
    let refused = refusal(&world.send(json!({"to": TENANT, "body": "x"})).await);
    assert!(refused.ends_with("to: can't be sent to: US is not in RECIPIENT_COUNTRIES"), "{refused}");
}

#[tokio::test]
async fn a_scheduled_message_is_delayed_on_the_queue_or_left_to_the_sweep() {
    let mut world = World::start().await;
    let (begun, soon) = (Instant::now(), common::clock::now() + jiff::SignedDuration::from_secs(60));
    world.accepted(json!({"to": TENANT, "body": "x", "send_at": soon.to_string()})).await;
    let sent = world.sqs.sent();
    assert!(left_of(60.0, begun).contains(&(sent[0].delay_seconds as f64)), "{sent:?}");
    let later = json!({"to": TENANT, "body": "x", "send_at": "2126-01-01T09:00:00-05:00",
        "send_before": "2126-01-02T00:00:00Z"});
    world.accepted(later).await;
    assert_eq!(world.sqs.sent().len(), 1);
    let due = "select bool_and(next_attempt_at = send_at and send_before is null \
        or send_at = '2126-01-01T14:00:00Z')::text from sms_messages";
    assert_eq!(world.database.scalar(due).await, "true");
}

#[tokio::test]
async fn a_message_is_left_to_the_sweep_when_sqs_is_unavailable() {
    let mut world = World::with(&[("SQS_SEND_BUDGET_MS", "200".to_owned())]).await;
    for behaviour in [Behaviour::Fails, Behaviour::Hangs] {
        world.sqs.behave(behaviour);
        world.accepted(json!({"to": TENANT, "body": "x"})).await;
    }
    let left =
        "select count(*) from sms_messages where next_attempt_at <= now() and delivery_status = 'pending'";
    assert_eq!(world.database.scalar(left).await, "2");
}

#[tokio::test]
async fn a_recipient_who_opted_out_is_refused_and_nothing_is_stored() {
    let mut world = World::start().await;
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    world.database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    let reply = world.send(json!({"to": TENANT, "body": "x"})).await;
    assert_eq!(refusal(&reply), "409 sms.recipient_opted_out");
    assert_eq!(world.rows("sms_messages").await, "1");
    assert_eq!(world.sqs.sent().len(), 1);
}

#[tokio::test]
async fn a_recipient_who_opted_out_of_a_workflow_gets_the_other_messages() {
    let mut world = World::start().await;
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    let scoped = "update sms_conversations set opted_out_scopes = '{workflow:collections,purpose:marketing}'";
    world.database.client.batch_execute(scoped).await.unwrap();
    for refused in [
        json!({"to": TENANT, "body": "x", "workflow_type": "collections"}),
        json!({"to": TENANT, "body": "x", "purpose": "marketing"}),
    ] {
        assert_eq!(refusal(&world.send(refused).await), "409 sms.recipient_opted_out");
    }
    world.accepted(json!({"to": TENANT, "body": "x", "workflow_type": "leasing"})).await;
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    assert_eq!(world.rows("sms_messages").await, "3");
}

#[tokio::test]
async fn a_deactivated_number_is_refused_until_the_mark_is_cleared() {
    let mut world = World::start().await;
    let payload = json!({"to": TENANT, "body": "x"});
    let keyed = || sms(&payload).header("idempotency-key", "k-1").event();
    let first = world.function.call(keyed()).await;
    let mark = "update sms_conversations set deactivated_at = '2026-10-31T00:00:00Z'";
    world.database.client.batch_execute(mark).await.unwrap();
    for payload in [payload.clone(), json!({"to": TENANT, "body": "x", "from": OUR_NUMBER})] {
        let reply = world.send(payload).await;
        assert_eq!(refusal(&reply), "409 sms.conflict");
        let message = body(&reply)["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            message.starts_with("number_deactivated: the carrier has deactivated the number"),
            "{message}"
        );
    }
    // An invalid request and an opt-out are reported as such, and a repeated request gets the first response.
    let invalid = world.send(json!({"to": TENANT, "body": "x", "send_at": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(refusal(&invalid), "400 sms.validation_error\n  send_at: has passed");
    assert_eq!(body(&world.function.call(keyed()).await), body(&first));
    world.database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    assert_eq!(refusal(&world.send(payload.clone()).await), "409 sms.recipient_opted_out");
    assert_eq!((world.rows("sms_messages").await.as_str(), world.sqs.sent().len()), ("1", 1));

    let clear = "update sms_conversations set opted_out_at = null, deactivated_at = null";
    world.database.client.batch_execute(clear).await.unwrap();
    world.accepted(payload).await;
}

#[tokio::test]
async fn a_postgres_that_refuses_connections_is_503_within_two_seconds_with_nothing_queued() {
    let sqs = Sqs::start().await;
    let url = "postgres://u:hunter2@127.0.0.1:1/x";
    is_unavailable_in_time(&mut start(&hasty_environment(&sqs, url)).await).await;
    assert_eq!(sqs.sent(), []);
}

#[tokio::test]
async fn a_postgres_that_does_not_respond_is_503_after_the_budget() {
    let sqs = Sqs::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:hunter2@127.0.0.1:{}/x", silent.local_addr().unwrap().port());
    let mut environment = environment(&sqs, &url);
    environment.extend([
        ("DATABASE_BUDGET_MS", "300".to_owned()),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "200".to_owned()),
    ]);
    let reply = start(&environment).await.call(sms(&json!({"to": TENANT, "body": "x"})).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    assert_eq!(sqs.sent(), []);
}

#[tokio::test]
async fn a_slow_postgres_still_accepts_the_message() {
    let (sqs, database) = (Sqs::start().await, Database::create().await);
    // The default limits: longer than a cold start on a slow machine.
    let mut function = start(&hasty_environment(&sqs, &database.url())).await;
    let mut holder = testing::connect(&database.url()).await;
    let held = holder.transaction().await.unwrap();
    held.batch_execute("lock table sms_messages in access exclusive mode").await.unwrap();
    let send = function.call(sms(&json!({"to": TENANT, "body": "x"})).event());
    let release = async {
        // More than the former limit for one request: slow does not mean unavailable.
        let waited = "select count(*) from pg_stat_activity where datname = current_database() \
                      and wait_event_type = 'Lock' and clock_timestamp() - query_start > interval '1600 ms'";
        eventually("it has waited", async || (database.scalar(waited).await != "0").then_some(())).await;
        held.rollback().await.unwrap();
    };
    let (reply, ()) = tokio::join!(send, release);
    assert_eq!(reply["statusCode"], 202, "{reply}");
    assert_eq!(sqs.sent().len(), 1);
}

#[tokio::test]
async fn a_message_is_never_stored_after_the_budget() {
    let mut world = World::start().await;
    world.accepted(json!({"to": TENANT, "body": "x"})).await;
    let mut environment = environment(&world.sqs, &world.database.url());
    environment.push(("DATABASE_BUDGET_MS", "500".to_owned()));
    let mut hasty = start(&environment).await;
    let mut holder = testing::connect(&world.database.url()).await;
    let held = holder.transaction().await.unwrap();
    held.batch_execute("lock table sms_messages in access exclusive mode").await.unwrap();
    let reply = hasty.call(sms(&json!({"to": TENANT, "body": "refused"})).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    assert_eq!(world.sqs.sent().len(), 1);
    held.rollback().await.unwrap();
    eventually("Postgres accepts the message again", async || {
        let reply = hasty.call(sms(&json!({"to": TENANT, "body": "x"})).event()).await;
        (reply["statusCode"] == 202).then_some(())
    })
    .await;
    let refused = "select count(*) from sms_messages where message_content = 'refused'";
    assert_eq!(world.database.scalar(refused).await, "0");
}

#[tokio::test]
async fn a_broken_schema_is_500_without_details() {
    let mut world = World::start().await;
    world.database.client.batch_execute("alter table sms_messages drop column metadata").await.unwrap();
    let reply = world.send(json!({"to": TENANT, "body": "x"})).await;
    assert_eq!(refusal(&reply), "500 sms.internal");
    for internal in ["metadata", "column", "sms_messages", "Postgres"] {
        assert!(!reply["body"].as_str().unwrap().contains(internal), "{reply}");
    }
    assert_eq!(world.sqs.sent(), []);
}

#[tokio::test]
async fn the_log_contains_no_text_number_or_secret() {
    let mut world = World::start().await;
    world.accepted(json!({"to": "(203) 555-0123", "body": "the sink leaks"})).await;
    world
        .send(json!({"to": "(203) 555-0123", "body": "the sink leaks", "+12035550123": 1,
        "priority": "the sink leaks"}))
        .await;
    world.database.client.batch_execute("alter table sms_messages drop column metadata").await.unwrap();
    world.send(json!({"to": "(203) 555-0123", "body": "the sink leaks"})).await;
    let log = eventually("both requests are logged", async || {
        let log = json!(world.function.log().await).to_string();
        (log.contains("invalid request") && log.contains("sms.internal")).then_some(log)
    })
    .await;
    for secret in ["sink", "5550123", "555-0123"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let environment = [
        ("TWILIO_MESSAGING_SERVICE_SID", "XX1".to_owned()),
        ("TWILIO_PHONE_NUMBER", "+1 860 555 0100".to_owned()),
        ("DEFAULT_REGION", "USA".to_owned()),
        ("DATABASE_URL", "postgres://u:hunter2@h:port/x".to_owned()),
        ("DATABASE_BUDGET_MS", "0".to_owned()),
    ];
    let log = start(&environment).await.ended().await;
    let error = log.last().unwrap()["error"].as_str().unwrap().to_owned();
    assert_eq!(
        error,
        "invalid configuration: TWILIO_ACCOUNT_SID is missing; TWILIO_PHONE_NUMBER has an entry that is \
         neither an E.164 number nor a short code; TWILIO_MESSAGING_SERVICE_SID does not begin with MG; \
         DEFAULT_REGION is invalid (not an ISO 3166-1 code of two letters, such as US); OUTBOUND_QUEUE_URL is \
         missing; DATABASE_URL is invalid (invalid connection string: invalid value for option `port`); \
         DATABASE_BUDGET_MS must be between 50 and 60000"
    );
    let log = start(&[("TWILIO_ACCOUNT_SID", "AC1".to_owned())]).await.ended().await;
    let error = log.last().unwrap()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("TWILIO_PHONE_NUMBER and TWILIO_MESSAGING_SERVICE_SID are both missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let mut world = World::start().await;
    let request = sms(&json!({"to": TENANT, "body": "x"}));
    let reply = world.function.call(request.clone().scopes("messages:read").event()).await;
    assert_eq!(refusal(&reply), "403 sms.forbidden");
    let reply = world.function.call(request.clone().unauthorized().event()).await;
    assert_eq!(refusal(&reply), "401 sms.unauthorized");
    let reply = world.function.call(request.scopes("admin").key(KEY_ID).event()).await;
    assert_eq!(reply["statusCode"], 202);
}

#[tokio::test]
async fn a_number_that_has_sent_a_message_can_be_sent_to() {
    let mut world = World::start().await;
    // The area code 687 is not assigned.
    let unlisted = "+16875550144";
    let payload = json!({"to": "(687) 555-0144", "body": "x"});
    let reason =
        "400 sms.validation_error\n  to: can't be sent to: its country's numbering plan has no such number";
    assert_eq!(refusal(&world.send(payload.clone()).await), reason);

    // An outbound message in the conversation is not enough.
    let conversation = format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at) \
         values ('{KEY_ID}', 'AC1', '{unlisted}', '{unlisted}', now()); \
         insert into sms_messages (id, conversation_id, direction, to_number, message_content, delivery_status, \
         created_at) \
         values (gen_random_uuid(), '{KEY_ID}', 'outbound', '{unlisted}', 'x', 'failed', now())"
    );
    world.database.client.batch_execute(&conversation).await.unwrap();
    assert_eq!(refusal(&world.send(payload.clone()).await), reason);

    let inbound = format!(
        "insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number, \
            message_content, \
            delivery_status, created_at) \
         values (gen_random_uuid(), '{KEY_ID}', 'inbound', 'SM1', '{unlisted}', '{OUR_NUMBER}', 'x', 'received', now())"
    );
    world.database.client.batch_execute(&inbound).await.unwrap();
    let response = world.accepted(payload).await;
    assert_eq!((&response["to"], &response["conversation_id"]), (&json!(unlisted), &json!(KEY_ID)));
}

#[tokio::test]
async fn invisible_characters_in_a_number_are_ignored() {
    let mut world = World::start().await;
    for character in
        ['\u{200e}', '\u{2068}', '\u{feff}', '\u{202f}', '\u{fe0f}', '\u{200d}', '\t', '\u{3164}']
    {
        let spelled = |number: &str| {
            let (area, rest) = number.split_at(5);
            format!("{area}{character}{rest}{character}")
        };
        let payload = json!({"to": spelled(TENANT), "from": spelled(OUR_NUMBER), "body": "x"});
        assert_eq!(world.accepted(payload).await["to"], TENANT, "{character:?}");
    }
}

#[tokio::test]
async fn a_new_area_code_can_be_sent_to() {
    let mut world = World::start().await;
    let response = world.accepted(json!({"to": "(624) 555-0144", "body": "x"})).await;
    assert_eq!(response["to"], "+16245550144");
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<send_sms::Config>(
        "send-sms",
        Duration::ZERO,
        &[("DATABASE_BUDGET_MS", 1), ("SQS_SEND_BUDGET_MS", 1)],
    );
}
