//! Runs the binary through the Runtime API with a real Postgres and a Twilio with a configurable list.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use common::db::sends::{self, NewSend};
use common::db::statuses::{self, NewStatus};
use common::domain::ids::MessageId;
use common::domain::message::Status;
use common::twilio::RenewalPolicy;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome as Invoked, environment};
use wiremock::matchers::{method, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

mod undecided;

const BINARY: &str = env!("CARGO_BIN_EXE_resolve-unknown");
const TO: &str = "+12025550143";
const FROM: &str = "+15005550006";

struct World {
    database: Database,
    twilio: MockServer,
}

impl World {
    async fn start() -> Self {
        Self { database: Database::create().await, twilio: MockServer::start().await }
    }

    async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    async fn function_with(&self, changes: &[(&str, &str)]) -> Function {
        let (url, twilio) = (self.database.url(), self.twilio.uri());
        let mut variables = vec![
            ("DATABASE_URL", url.as_str()),
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_AUTH_TOKEN", "token"),
            ("TWILIO_API_BASE_URL", &twilio),
        ];
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// Stores a message whose create had no response. The attempt started and ended `age` ago.
    async fn unknown(&self, body: &str, age: SignedDuration) -> MessageId {
        self.unknown_until(body, age, None).await
    }

    async fn unknown_until(
        &self,
        body: &str,
        age: SignedDuration,
        send_before: Option<Timestamp>,
    ) -> MessageId {
        self.unknown_send(NewSend { send_before, ..new_send(body, age) }).await
    }

    async fn unknown_send(&self, send: NewSend) -> MessageId {
        sends::create(&self.database.db(), &send, None).await.unwrap();
        self.attempted(send.id, send.created_at).await;
        send.id
    }

    /// Stores a create attempt without a response.
    async fn attempted(&self, id: MessageId, at: Timestamp) {
        let attempt = format!(
            "insert into sms_send_attempts (id, message_id, number, outcome, started_at, finished_at)
             select gen_random_uuid(), '{id}', 1 + count(*), 'unknown', '{at}', '{at}'
             from sms_send_attempts where message_id = '{id}';
             update sms_messages set delivery_status = 'unknown' where id = '{id}'"
        );
        self.database.client.batch_execute(&attempt).await.unwrap();
    }

    /// Makes Twilio list these messages from now on.
    async fn lists(&self, messages: &[Value]) {
        self.twilio.reset().await;
        let page = json!({"messages": messages, "next_page_uri": null});
        Mock::given(method("GET"))
            .and(query_param("To", TO))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .mount(&self.twilio)
            .await;
    }

    async fn fails(&self, status: u16) {
        self.twilio.reset().await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(status)).mount(&self.twilio).await;
    }

    async fn state(&self, id: MessageId) -> String {
        let sql = format!(
            "select concat_ws(' ', delivery_status, coalesce(twilio_sid, '-'), coalesce(error_code, '-'),
                 case when parked_at is not null then 'parked' end) from sms_messages where id = '{id}'"
        );
        self.database.scalar(&sql).await
    }

    async fn attempts(&self, id: MessageId) -> String {
        let sql = format!(
            "select string_agg(concat_ws(' ', outcome, twilio_sid), ',' order by number)
             from sms_send_attempts where message_id = '{id}'"
        );
        self.database.scalar(&sql).await
    }

    /// Makes the next lookup of all messages due.
    async fn later(&self) {
        self.database.client.batch_execute("update sms_messages set resolve_at = null").await.unwrap();
    }
}

fn new_send(body: &str, age: SignedDuration) -> NewSend {
    NewSend {
        id: clock::new_id().into(),
        sender: FROM.into(),
        message_content: body.to_owned(),
        request_id: "r-1".to_owned(),
        created_at: clock::now() - age,
        ..testing::new_send(TO)
    }
}

fn listed(sid: &str, body: &str, status: &str, age: SignedDuration) -> Value {
    let created = jiff::fmt::rfc2822::to_string(&(clock::now() - age).to_zoned(jiff::tz::TimeZone::UTC));
    json!({
        "sid": sid, "direction": "outbound-api", "to": TO, "from": FROM, "body": body, "num_media": "0",
        "status": status, "date_created": created.unwrap(), "date_sent": null, "error_code": null,
    })
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn event() -> Value {
    serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()
}

/// A status callback for `SM1`.
fn delivered(message_id: Option<MessageId>) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: "SM1".parse().unwrap(),
        message_id,
        event_status: "delivered".to_owned(),
        status: Some(Status::Delivered),
        error_code: None,
        raw_webhook_data: json!({}),
        nul_removed: false,
        received_at: clock::now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_found_at_twilio_gets_its_sid_status_and_early_callbacks() {
    let world = World::start().await;
    let id = world.unknown("rent", MINUTE).await;
    let early = delivered(None);
    let policy = RenewalPolicy::default();
    statuses::record(&world.database.db(), &[early], &policy, clock::now()).await.unwrap();
    world.lists(&[listed("SM1", "rent", "sent", MINUTE)]).await;
    let resolved = world.function().await.call(event()).await;
    assert_eq!((&resolved["found"], &resolved["waiting"]), (&json!(1), &json!(0)), "{resolved}");
    assert_eq!(world.state(id).await, "delivered SM1 -");
    assert_eq!(world.attempts(id).await, "accepted SM1");
    let kept = "select string_agg(event_status || ' ' || coalesce(raw_webhook_data->>'reconciled', '-'), ','
        order by event_status)
                from sms_message_status_events where message_id is not null";
    assert_eq!(world.database.scalar(kept).await, "delivered -,sent true");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_in_is_newer_than_an_opt_out_that_is_found_later() {
    let world = World::start().await;
    let id = world.unknown("rent", HOUR).await;
    // Our attempt is newer than the opt-in. Only Twilio's timestamp shows that the failure is older.
    let opt_in = "update sms_send_attempts set started_at = now(), finished_at = now();
        insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
        select gen_random_uuid(), id, 'opt_in', 'keyword', 'SM2', now() - interval '30 seconds' from sms_conversations";
    world.database.client.batch_execute(opt_in).await.unwrap();
    let mut refused = listed("SM1", "rent", "failed", SignedDuration::from_secs(45));
    refused["error_code"] = 21610.into();
    refused["date_updated"] = refused["date_created"].clone();
    world.lists(&[refused]).await;
    assert_eq!(world.function().await.call(event()).await["found"], 1);
    assert_eq!(world.state(id).await, "failed SM1 21610");
    assert_eq!(world.database.scalar("select count(*) from sms_opt_out_events").await, "2");
    assert_eq!(world.database.scalar("select opted_out_at is null from sms_conversations").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_missing_in_two_lists_is_sent_again_and_not_earlier() {
    let world = World::start().await;
    let (young, old) = (world.unknown("young", MINUTE).await, world.unknown("old", HOUR).await);
    world.lists(&[listed("SM7", "something else", "sent", MINUTE)]).await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["waiting"], 2, "one list is not enough");
    assert_eq!(function.call(event()).await["waiting"], 0, "the lookups are not due yet");
    world.later().await;
    let resolved = function.call(event()).await;
    assert_eq!((&resolved["sent_again"], &resolved["waiting"]), (&json!(1), &json!(1)), "{resolved}");
    assert_eq!(world.state(old).await, "pending - -");
    assert_eq!(world.attempts(old).await, "not_processed");
    assert_eq!(world.state(young).await, "unknown - -");
    let (asked, pace) = (sends::ClaimRequest::messages(&[old, young]), sends::SendPace::default());
    let claims = sends::claim(&world.database.db(), &asked, &pace, clock::now()).await.unwrap();
    assert_eq!(claims.claimed.iter().map(|claim| claim.message_id).collect::<Vec<_>>(), [old]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_missing_in_the_first_list_is_found_in_the_second() {
    let world = World::start().await;
    let id = world.unknown("rent", HOUR).await;
    world.lists(&[]).await;
    let mut function = world.function().await;
    function.call(event()).await;
    world.later().await;
    world.lists(&[listed("SM1", "rent", "undelivered", HOUR)]).await;
    assert_eq!(function.call(event()).await["found"], 1);
    assert_eq!(world.state(id).await, "undelivered SM1 -");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_message_missing_in_two_lists_has_failed() {
    let world = World::start().await;
    let id = world.unknown_until("rent", HOUR, Some(clock::now() - MINUTE)).await;
    world.lists(&[]).await;
    let mut function = world.function().await;
    function.call(event()).await;
    world.later().await;
    assert_eq!(function.call(event()).await["too_late"], 1);
    assert_eq!(world.state(id).await, "failed - retries_exhausted");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_identical_messages_as_many_are_found_as_twilio_lists() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for minutes in [63, 62, 61] {
        ids.push(world.unknown("rent", MINUTE * minutes).await);
    }
    world
        .lists(&[listed("SM2", "rent", "sent", MINUTE * 61), listed("SM1", "rent", "sent", MINUTE * 63)])
        .await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["found"], 2);
    world.later().await;
    assert_eq!(function.call(event()).await["sent_again"], 1);
    let mut states = Vec::new();
    for id in ids {
        states.push(world.state(id).await);
    }
    assert_eq!(states, ["sent SM1 -", "sent SM2 -", "pending - -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sid_of_another_message_is_not_used_and_an_identical_message_in_progress_is_waited_for() {
    let world = World::start().await;
    let (id, taken) = (world.unknown("rent", HOUR).await, world.unknown("rent", HOUR).await);
    let claim = format!(
        "update sms_messages set delivery_status = 'pending', claimed_at = now() where id = '{taken}';
         update sms_send_attempts set outcome = null, finished_at = null where message_id = '{taken}'"
    );
    world.database.client.batch_execute(&claim).await.unwrap();
    world.lists(&[listed("SM1", "rent", "sent", HOUR)]).await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["waiting"], 1);
    assert_eq!(world.state(id).await, "unknown - -");
    // The identical message gets its response, with the SID of the listed message.
    let settled = format!(
        "update sms_messages set delivery_status = 'queued', claimed_at = null, twilio_sid = 'SM1' where id = '{taken}'"
    );
    world.database.client.batch_execute(&settled).await.unwrap();
    for _ in 0..2 {
        world.later().await;
        function.call(event()).await;
    }
    assert_eq!(world.state(id).await, "pending - -");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_look_for_each_message_once() {
    let world = World::start().await;
    for number in 0..5 {
        world.unknown(&format!("rent {number}"), MINUTE).await;
    }
    let messages: Vec<Value> =
        (0..5).map(|n| listed(&format!("SM{n}"), &format!("rent {n}"), "sent", MINUTE)).collect();
    world.lists(&messages).await;
    let (mut one, mut other) = (world.function().await, world.function().await);
    let (first, second) = tokio::join!(one.call(event()), other.call(event()));
    assert_eq!(first["found"].as_u64().unwrap() + second["found"].as_u64().unwrap(), 5);
    assert_eq!(
        world.database.scalar("select count(*) from sms_messages where delivery_status = 'sent'").await,
        "5"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_list_is_unavailable_messages_wait_and_are_parked_after_a_day() {
    let world = World::start().await;
    let (young, old) = (world.unknown("young", HOUR).await, world.unknown("old", HOUR * 25).await);
    world.fails(503).await;
    let mut function = world.function().await;
    for _ in 0..2 {
        assert!(matches!(function.invoke(event()).await, Invoked::Error(_)));
        world.later().await;
    }
    assert_eq!(world.state(old).await, "unknown - - parked");
    assert_eq!(world.state(young).await, "unknown - -");
    world.database.number_events().await;
    let events =
        "select string_agg(event_type || ' ' || (body::json->'data')::text || ' ' || (message_id::text), ',')
        from sms_events where body::jsonb->'data'->>'parked' = 'true'";
    let event_data = r#"{"status":"unknown","previous_status":"unknown","error_code":null,"parked":true}"#;
    assert_eq!(world.database.scalar(events).await, format!("message.status {event_data} {old}"));
    // Twilio is available again: parked messages are left to an operator.
    world.lists(&[]).await;
    for _ in 0..2 {
        function.call(event()).await;
        world.later().await;
    }
    assert_eq!(world.state(old).await, "unknown - - parked");
    assert_eq!(world.state(young).await, "pending - -");
    // A status callback still resolves it.
    let told = delivered(Some(old));
    let renewals = RenewalPolicy::default();
    statuses::record(&world.database.db(), &[told], &renewals, clock::now()).await.unwrap();
    assert_eq!(world.state(old).await, "delivered SM1 -");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_two_attempts_is_not_used_for_the_second() {
    let world = World::start().await;
    let id = world.unknown("rent", HOUR).await;
    let first = "update sms_send_attempts set outcome = 'accepted', twilio_sid = 'SM1'";
    world.database.client.batch_execute(first).await.unwrap();
    world.attempted(id, clock::now() - HOUR).await;
    world
        .lists(&[listed("SM2", "rent", "delivered", HOUR), listed("SM1", "rent", "undelivered", HOUR)])
        .await;
    world.function().await.call(event()).await;
    assert_eq!(world.state(id).await, "delivered SM2 -");
    assert_eq!(world.attempts(id).await, "accepted SM1,accepted SM2");
}

#[tokio::test]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let variables = [("DATABASE_URL", "nonsense"), ("UNKNOWN_RESOLVE_AFTER_SECONDS", "0")];
    let log = Function::start(BINARY, &variables).await.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in
        ["DATABASE_URL is invalid", "TWILIO_ACCOUNT_SID is missing", "UNKNOWN_RESOLVE_AFTER_SECONDS must be"]
    {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<resolve_unknown::Config>(
        "resolve-unknown",
        Duration::from_secs(30),
        &[environment::CONNECT, environment::STATEMENT, ("TWILIO_TIMEOUT_MS", 1)],
    );
}
