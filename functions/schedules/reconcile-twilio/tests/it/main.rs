//! Runs the binary through the Runtime API with a real Postgres and a Twilio with a configurable list.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use common::clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment};
use wiremock::matchers::{method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

mod blocked;

const BINARY: &str = env!("CARGO_BIN_EXE_reconcile-twilio");
const TENANT: &str = "+12025550143";
const OURS: &str = "+15005550006";
const LIST: &str = "/2010-04-01/Accounts/AC1/Messages.json";

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
            ("RECONCILE_GRACE_SECONDS", "0"),
        ];
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// Makes Twilio list these messages in pages.
    async fn lists(&self, pages: &[Vec<Value>]) {
        self.twilio.reset().await;
        for (number, messages) in pages.iter().enumerate() {
            let next = (number + 1 < pages.len()).then(|| format!("{LIST}?Page={}", number + 1));
            let response = ResponseTemplate::new(200)
                .set_body_json(json!({"messages": messages, "next_page_uri": next}));
            let list = Mock::given(method("GET")).and(path(LIST));
            match number {
                0 => list.and(query_param_is_missing("Page")),
                _ => list.and(query_param("Page", number.to_string())),
            }
            .respond_with(response)
            .mount(&self.twilio)
            .await;
        }
    }

    /// Stores a message that Twilio accepted.
    async fn taken(&self, sid: &str, status: &str) {
        let sql = format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
             values ('01900000-0000-7000-8000-00000000000c', 'AC1', '{TENANT}', '{TENANT}', now())
             on conflict do nothing;
             insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
             message_content,
                 delivery_status, created_at)
             values (gen_random_uuid(), '01900000-0000-7000-8000-00000000000c', 'outbound', '{sid}', '{OURS}',
             '{TENANT}', 'x',
                 '{status}', now() - interval '1 hour');
             insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, started_at, finished_at)
             select gen_random_uuid(), id, 1, 'accepted', twilio_sid, now(), now() from sms_messages
             where twilio_sid = '{sid}'"
        );
        self.database.client.batch_execute(&sql).await.unwrap();
    }

    async fn cursors(&self) -> String {
        self.database.scalar("select count(*) from twilio_reconciliation_cursors").await
    }

    async fn messages(&self) -> String {
        let all =
            "select string_agg(concat_ws(' ', coalesce(twilio_sid, '-'), direction, delivery_status), ','
            order by twilio_sid)
                   from sms_messages";
        self.database.scalar(all).await
    }
}

fn rfc2822(at: Timestamp) -> String {
    jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap()
}

fn inbound(sid: &str, body: &str, age: SignedDuration) -> Value {
    let at = rfc2822(clock::now() - age);
    json!({
        "sid": sid, "account_sid": "AC1", "direction": "inbound", "from": TENANT, "to": OURS, "body": body,
        "num_media": "0", "num_segments": "1", "status": "received", "date_created": at, "date_sent": at,
        "error_code": null, "messaging_service_sid": null,
    })
}

fn outbound(sid: &str, status: &str, code: Value) -> Value {
    let at = rfc2822(clock::now() - HOUR);
    json!({
        "sid": sid, "account_sid": "AC1", "direction": "outbound-api", "from": OURS, "to": TENANT, "body": "x",
        "num_media": "0", "status": status, "date_created": at, "date_sent": at, "error_code": code,
    })
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn event() -> Value {
    serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_inbound_messages_are_stored_once_with_their_time_language_and_mark() {
    let world = World::start().await;
    world
        .lists(&[
            vec![inbound("SM2", "No tengo agua caliente en la casa", HOUR)],
            vec![inbound("SM1", "1\u{0}2", HOUR * 2)],
        ])
        .await;
    let mut function = world.function().await;
    let response = function.call(event()).await;
    assert_eq!((&response["listed"], &response["inbound_recovered"]), (&json!(2), &json!(2)), "{response}");
    for _ in 0..2 {
        assert_eq!(function.call(event()).await["inbound_recovered"], 0);
    }
    assert_eq!(world.messages().await, "SM1 inbound received,SM2 inbound received");
    let stored = "select string_agg(concat_ws(' ', message_content, language, raw_webhook_data->>'reconciled',
                      nul_removed, now() - m.created_at between interval '59 minutes' and interval '121 minutes'), ','
                      order by twilio_sid)
                  from sms_messages m join sms_message_payloads on message_id = id";
    assert_eq!(
        world.database.scalar(stored).await,
        "12 unknown true t t,No tengo agua caliente en la casa es true f t"
    );
    assert_eq!(world.database.scalar("select message_count from sms_conversations").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stop_is_dated_by_when_it_was_sent() {
    let world = World::start().await;
    world.lists(&[vec![inbound("SM2", "START", HOUR), inbound("SM1", "STOP", HOUR * 2)]]).await;
    world.function().await.call(event()).await;
    assert_eq!(
        world.database.scalar("select opted_out_at is null from sms_conversations").await,
        "t",
        "the START is newer"
    );
    world.lists(&[vec![inbound("SM3", "STOP", SignedDuration::from_mins(30))]]).await;
    world.function().await.call(event()).await;
    let since = "select opted_out_at between now() - interval '31 minutes' and now() - interval '29 minutes' \
        from sms_conversations";
    assert_eq!(world.database.scalar(since).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_of_a_missing_message_are_listed() {
    let world = World::start().await;
    let mut message = inbound("MM1", "look", HOUR);
    message["num_media"] = "1".into();
    world.lists(&[vec![message]]).await;
    let media = json!({"media_list": [{"uri": "/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1.json",
        "content_type": "image/png"}]});
    Mock::given(path("/2010-04-01/Accounts/AC1/Messages/MM1/Media.json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(media))
        .mount(&world.twilio)
        .await;
    world.function().await.call(event()).await;
    let url = format!("{}/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1", world.twilio.uri());
    assert_eq!(world.database.scalar("select media->0->>'url' from sms_messages").await, url);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_statuses_are_stored_and_no_message_moves_backwards() {
    let world = World::start().await;
    for (sid, status) in [("SM1", "sent"), ("SM2", "delivered"), ("SM3", "sent"), ("SM4", "sent")] {
        world.taken(sid, status).await;
    }
    world
        .lists(&[vec![
            outbound("SM1", "delivered", Value::Null),
            outbound("SM2", "sent", Value::Null),
            outbound("SM3", "undelivered", json!(30006)),
            outbound("SM4", "undelivered", json!(30003)),
            outbound("SM9", "delivered", Value::Null),
        ]])
        .await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["statuses_recovered"], 3);
    assert_eq!(function.call(event()).await["statuses_recovered"], 0);
    assert_eq!(
        world.messages().await,
        "SM1 outbound delivered,SM2 outbound delivered,SM3 outbound undelivered,- outbound pending"
    );
    let history =
        "select string_agg(twilio_sid || ' ' || event_status || ' ' || (raw_webhook_data->>'reconciled'),
        ',' order by twilio_sid)
                   from sms_message_status_events";
    assert_eq!(
        world.database.scalar(history).await,
        "SM1 delivered true,SM3 undelivered true,SM4 undelivered true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_found_later_is_dated_by_when_twilio_refused_the_message() {
    for (opt_in_minutes_ago, opted_out) in [(30, "f"), (90, "t")] {
        let world = World::start().await;
        world.taken("SM1", "sent").await;
        let opt_in = format!(
            "insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at)
             select gen_random_uuid(), id, 'opt_in', 'keyword', 'SM2', now() - interval '{opt_in_minutes_ago} minutes'
             from sms_conversations"
        );
        world.database.client.batch_execute(&opt_in).await.unwrap();
        world.lists(&[vec![outbound("SM1", "undelivered", json!(21610))]]).await;
        assert_eq!(world.function().await.call(event()).await["statuses_recovered"], 1);
        let state = "select opted_out_at is not null from sms_conversations";
        assert_eq!(world.database.scalar(state).await, opted_out, "{opt_in_minutes_ago}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsent_messages_are_fetched_because_no_list_has_them() {
    let world = World::start().await;
    world.taken("SM1", "queued").await;
    world.lists(&[vec![]]).await;
    Mock::given(path("/2010-04-01/Accounts/AC1/Messages/SM1.json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(outbound("SM1", "failed", json!(30007))))
        .mount(&world.twilio)
        .await;
    world.function().await.call(event()).await;
    assert_eq!(world.messages().await, "SM1 outbound failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_where_the_previous_one_stopped() {
    let world = World::start().await;
    world.lists(&[vec![], vec![inbound("SM1", "hello", HOUR)]]).await;
    let left_over = format!(
        "insert into twilio_reconciliation_cursors (since, until, part, position, updated_at)
         values (now() - interval '1 day', now(), 'list', '{LIST}?Page=1', now())"
    );
    world.database.client.batch_execute(&left_over).await.unwrap();
    let response = world.function().await.call(event()).await;
    assert_eq!((&response["inbound_recovered"], &response["unfinished"]), (&json!(1), &json!(false)));
    assert_eq!(world.cursors().await, "0");
    let asked = world.twilio.received_requests().await.unwrap();
    assert!(asked[0].url.query().unwrap().contains("Page=1"), "{}", asked[0].url);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_window_is_listed_and_a_twilio_failure_fails_the_run() {
    let world = World::start().await;
    world.lists(&[vec![]]).await;
    let mut function = world.function().await;
    let window = json!({"since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"});
    assert_eq!(function.call(window).await["listed"], 0);
    let asked = world.twilio.received_requests().await.unwrap();
    let query: Vec<_> = asked[0].url.query_pairs().into_owned().collect();
    assert!(query.contains(&("DateSent>".to_owned(), "2026-11-01T00:00:00Z".to_owned())), "{query:?}");
    assert!(query.contains(&("DateSent<".to_owned(), "2026-11-02T00:00:00Z".to_owned())), "{query:?}");
    assert!(matches!(function.invoke(json!({"since": "x"})).await, Outcome::Error(_)));
    world.twilio.reset().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(503)).mount(&world.twilio).await;
    assert!(matches!(function.invoke(event()).await, Outcome::Error(_)));
}

#[tokio::test]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let log = Function::start(BINARY, &[("RECONCILE_WINDOW_SECONDS", "0")]).await.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in
        ["DATABASE_URL is missing", "TWILIO_ACCOUNT_SID is missing", "RECONCILE_WINDOW_SECONDS must be"]
    {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<reconcile_twilio::Config>(
        "reconcile-twilio",
        Duration::from_secs(80),
        &[environment::CONNECT, environment::STATEMENT, ("TWILIO_TIMEOUT_MS", 1)],
    );
}
