//! Tests of the binary through the Runtime API.
#![expect(clippy::expect_used, reason = "a failed test setup should stop the test")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use testing::{ApiRequest, Behaviour, Database, Function, Sqs, body, environment, refusal};

mod dry_run;
mod rate_limits;
mod refusals;
mod texts;

const BINARY: &str = env!("CARGO_BIN_EXE_send-bulk");
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
        let mut environment = vec![
            ("TWILIO_ACCOUNT_SID", "AC1".to_owned()),
            ("TWILIO_PHONE_NUMBER", format!("{OUR_NUMBER},+18605550101")),
            ("OUTBOUND_QUEUE_URL", sqs.queue("outbound")),
            ("AWS_ENDPOINT_URL_SQS", sqs.url().to_owned()),
            ("DATABASE_URL", database.url()),
        ];
        environment.extend_from_slice(changes);
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self { function: Function::start(BINARY, &environment).await, sqs, database }
    }

    async fn send(&mut self, payload: &Value) -> Value {
        self.function.call(bulk(payload).event()).await
    }

    async fn refused(&mut self, payload: &Value) -> String {
        refusal(&self.send(payload).await)
    }

    /// Sends a request that must be accepted, and returns the response.
    async fn accepted(&mut self, payload: &Value) -> Value {
        let reply = self.send(payload).await;
        assert_eq!(reply["statusCode"], 202, "{reply}");
        body(&reply)
    }

    async fn dry_run(&mut self, mut payload: Value) -> Value {
        payload["dry_run"] = json!(true);
        let reply = self.send(&payload).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
        for table in ["sms_messages", "sms_batches", "sms_conversations", "idempotency_keys"] {
            if table != "sms_conversations" {
                assert_eq!(self.rows(table).await, "0", "{table}");
            }
        }
        body(&reply)
    }

    /// Stores a conversation with these columns and values.
    async fn conversation(&self, number: &str, columns: &str, values: &str) {
        let sql = format!(
            "insert into sms_conversations
                 (id, account_sid, phone_number_canonical, phone_number_original, created_at {columns})
             values (sms_new_id(), 'AC1', '{number}', '{number}', now() {values})"
        );
        self.database.client.batch_execute(&sql).await.expect("a conversation");
    }

    /// Stores a template with two versions.
    async fn template(&self) -> String {
        let sql = "with template as (
                insert into sms_templates (id, name, version, created_at)
                values (sms_new_id(), 'notice', 2, now()) returning id)
            insert into sms_template_versions (template_id, version, name, es, fallback, api_key_id, created_at)
            select id, v, 'notice', 'Hola ' || v || ' {{name}}', 'es', sms_new_id(), now()
            from template, generate_series(1, 2) v
            returning template_id::text";
        self.database.scalar(sql).await
    }

    async fn rows(&self, table: &str) -> String {
        self.database.scalar(&format!("select count(*) from {table}")).await
    }
}

fn bulk(payload: &Value) -> ApiRequest {
    ApiRequest::new("POST", "/sms/bulk").scopes("messages:send").json(payload)
}

/// Returns the errors of the refused items, as `index code field reason`.
fn errors(response: &Value) -> Vec<String> {
    let items = response["items"].as_array().expect("items");
    let refused = items.iter().filter(|item| item["status"] == "rejected");
    refused
        .map(|item| {
            assert_eq!(item.get("id"), None);
            let details = item["error"]["details"].as_array().expect("details");
            let details: Vec<String> = details
                .iter()
                .map(|detail| {
                    format!(
                        " {}: {}",
                        detail["field"].as_str().unwrap_or_default(),
                        detail["reason"].as_str().unwrap_or_default()
                    )
                })
                .collect();
            format!(
                "{} {}{}",
                item["index"],
                item["error"]["code"].as_str().unwrap_or_default(),
                details.join(";")
            )
        })
        .collect()
}

#[tokio::test]
async fn messages_are_stored_in_one_batch_and_their_sender_is_woken_once() {
    let mut world = World::start().await;
    let response = world
        .accepted(&json!({
            "messages": [
                {"to": "(203) 555-0123", "body": "Water is off on May 3."},
                {"to": "+12035550124", "body": "¡Hola!", "priority": "normal", "workflow_type": "maintenance"},
                {"to": "+12035550125", "body": "Hi", "media_urls": ["https://example.com/plan.png"]},
            ],
            "workflow_type": "notices", "workflow_id": "w-1", "purpose": "marketing",
        }))
        .await;
    assert_eq!((&response["accepted"], &response["rejected"]), (&json!(3), &json!(0)), "{response}");
    let items = response["items"].as_array().unwrap();
    let ids: BTreeSet<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(items[2]["index"], 2);
    assert_eq!(items[0]["status"], "accepted");
    let rows = "select string_agg(
            concat_ws(' ', to_number, priority, workflow_type, purpose, delivery_status, from_number),
            E'\\n' order by to_number) from sms_messages";
    assert_eq!(
        world.database.scalar(rows).await,
        "+12035550123 bulk notices marketing pending +18605550100\n\
         +12035550124 normal maintenance marketing pending +18605550100\n\
         +12035550125 bulk notices marketing pending +18605550100"
    );
    let batch = response["batch_id"].as_str().unwrap();
    let same = format!("select count(*) from sms_messages where batch_id = '{batch}'");
    assert_eq!(world.database.scalar(&same).await, "3");
    let queued = world.sqs.sent();
    assert_eq!(queued.len(), 1, "{queued:?}");
    assert!(ids.contains(queued[0].body["message_id"].as_str().unwrap_or_default()), "{queued:?}");
}

#[tokio::test]
async fn a_thousand_messages_are_accepted_and_one_more_is_refused() {
    let mut world = World::start().await;
    let messages = |count: usize| -> Vec<Value> {
        (0..count).map(|i| json!({"to": format!("+1203555{i:04}"), "body": "x".repeat(1600)})).collect()
    };
    let response = world.accepted(&json!({ "messages": messages(1000) })).await;
    assert_eq!(response["accepted"], 1000);
    assert_eq!(world.rows("sms_messages").await, "1000");
    assert_eq!(
        world.refused(&json!({ "messages": messages(1001) })).await,
        "400 sms.validation_error\n  messages: has 1001 entries; 1000 are allowed"
    );
}

#[tokio::test]
async fn a_bad_item_does_not_stop_the_others() {
    let mut world = World::start().await;
    world.conversation("+12035550129", ", opted_out_at", ", now()").await;
    world.conversation("+12035550128", "", "").await;
    world.conversation("+12035550126", ", deactivated_at", ", now()").await;
    let response = world
        .accepted(&json!({"messages": [
            {"to": TENANT, "body": "ok"},
            {"to": "123", "body": "x"},
            {"to": "+12035550129", "body": "x"},
            {"to": "203-555-0123", "body": "ok"},
            {"to": "+442079460000", "body": "x", "surprise": 1},
            {"to": TENANT, "body": ""},
            "text",
            {"to": TENANT, "body": "other text"},
            {"to": "+442079460000", "body": "x"},
            {"to": "+12035550128", "body": "x", "conversation_id": "01900000-0000-7000-8000-0000000000aa"},
            {"to": "+12035550127", "body": "x", "from": "+12035559999"},
            {"to": "+12035550126", "body": "x"},
        ]}))
        .await;
    assert_eq!((&response["accepted"], &response["rejected"]), (&json!(2), &json!(10)));
    let expected = [
        "1 sms.validation_error to: can't be sent to: ",
        "2 sms.recipient_opted_out",
        "3 sms.conflict",
        "4 sms.validation_error surprise: is not a field of this request",
        "5 sms.validation_error body: is blank, and there are no media_urls",
        "6 sms.validation_error entry: is not a JSON object",
        "8 sms.validation_error to: can't be sent to: GB is not in RECIPIENT_COUNTRIES",
        "9 sms.validation_error conversation_id: is not the conversation with this number",
        "10 sms.validation_error from: is not a configured number or messaging service",
        "11 sms.conflict",
    ];
    let found = errors(&response);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} / {expected}");
    }
    assert_eq!(response["items"][3]["error"]["message"], "the message is a duplicate of entry 0");
    let deactivated = response["items"][11]["error"]["message"].as_str().unwrap();
    assert!(deactivated.starts_with("number_deactivated: "), "{deactivated}");
    assert_eq!(world.rows("sms_messages").await, "2");
}

#[tokio::test]
async fn a_request_with_a_key_can_be_repeated() {
    let mut world = World::start().await;
    let payload = json!({"messages": [{"to": TENANT, "body": "ok"}, {"to": "1", "body": "x"}]});
    let keyed = |payload: &Value| bulk(payload).header("idempotency-key", "k-1").event();
    let first = world.function.call(keyed(&payload)).await;
    assert_eq!(first["statusCode"], 202);
    // The recipient has opted out since.
    world.database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    let again = world.function.call(keyed(&payload)).await;
    assert_eq!((&again["statusCode"], body(&again)), (&json!(202), body(&first)));
    assert_eq!(world.rows("sms_messages").await, "1");
    let other = json!({"messages": [{"to": TENANT, "body": "other"}]});
    assert_eq!(refusal(&world.function.call(keyed(&other)).await), "409 sms.idempotency_conflict");
    let long = bulk(&payload).header("idempotency-key", &"k".repeat(256)).event();
    assert_eq!(
        refusal(&world.function.call(long).await),
        "400 sms.validation_error\n  Idempotency-Key: must be 1 to 255 printable ASCII characters"
    );
}

#[tokio::test]
async fn messages_can_join_a_batch_until_it_is_cancelled() {
    let mut world = World::start().await;
    let batch = world.accepted(&json!({"messages": [{"to": TENANT, "body": "1"}]})).await["batch_id"].clone();
    let join = |text: &str| json!({"messages": [{"to": TENANT, "body": text}], "batch_id": batch});
    assert_eq!(world.accepted(&join("2")).await["batch_id"], batch);
    assert_eq!(world.database.scalar("select total from sms_batches").await, "2");
    world.database.client.batch_execute("update sms_batches set state = 'cancelled'").await.unwrap();
    assert_eq!(world.refused(&join("3")).await, "409 sms.conflict");
    let mut unknown = join("1");
    unknown["batch_id"] = json!("01900000-0000-7000-8000-0000000000aa");
    assert_eq!(world.refused(&unknown).await, "400 sms.validation_error\n  batch_id: is not a batch");
}

#[tokio::test]
async fn each_recipient_gets_the_sender_that_it_knows() {
    let mut world = World::start().await;
    world.conversation(TENANT, "", "").await;
    let earlier = "insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
            message_content, delivery_status, created_at)
        select sms_new_id(), id, 'inbound', 'SM1', phone_number_canonical, '+18605550101', 'x', 'received', now()
        from sms_conversations";
    world.database.client.batch_execute(earlier).await.unwrap();
    world
        .accepted(&json!({"messages": [{"to": TENANT, "body": "x"}, {"to": "+12035550124", "body": "x"}]}))
        .await;
    let senders = "select string_agg(to_number || ' ' || from_number, ', ' order by to_number)
        from sms_messages where direction = 'outbound'";
    assert_eq!(world.database.scalar(senders).await, "+12035550123 +18605550101, +12035550124 +18605550100");
    assert_eq!(world.sqs.sent().len(), 2, "one wake-up per sender");
}

#[tokio::test]
async fn messages_are_stored_when_sqs_is_unavailable_and_not_when_postgres_is() {
    let mut world = World::start().await;
    world.sqs.behave(Behaviour::Fails);
    let payload = json!({"messages": [{"to": TENANT, "body": "x"}]});
    assert_eq!(world.accepted(&payload).await["accepted"], 1);

    let sqs = Sqs::start().await;
    let queue = sqs.queue("outbound");
    let environment = [
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("TWILIO_PHONE_NUMBER", OUR_NUMBER),
        ("OUTBOUND_QUEUE_URL", &queue),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("DATABASE_URL", "postgres://u@127.0.0.1:1/x"),
    ];
    let mut function = Function::start(BINARY, &environment).await;
    let reply = function.call(bulk(&payload).event()).await;
    assert_eq!(refusal(&reply), "503 sms.unavailable");
    assert!(sqs.sent().is_empty());
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<send_bulk::Config>(
        "send-bulk",
        Duration::ZERO,
        &[("DATABASE_BUDGET_MS", 1), ("SQS_SEND_BUDGET_MS", 1)],
    );
}
