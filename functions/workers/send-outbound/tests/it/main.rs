//! Runs the binary through the Runtime API with a real Postgres and a Twilio that fails on demand.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod crashes;
mod late;
mod once;
mod outcomes;
mod owned_sids;
mod pace;
mod quiet_hours;
mod refusals;
mod settled;
mod stop_gate;
mod tokens;
mod traces;
mod twilio;

use common::clock;
use common::db::inbound::{self, NewInbound, OptOutChange};
use common::db::sends::{self, Created, NewSend};
use common::domain::ids::MessageId;
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::opt_out::{OptOutAction, OptOutSource};
use common::domain::phone::InboundSender;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testing::{Database, Function, Sqs, environment, eventually, failed, left_of};
use twilio::Twilio;

const BINARY: &str = env!("CARGO_BIN_EXE_send-outbound");
const ACCOUNT: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "c0ffee5039841236fd2a875af85e7195";
const TO: &str = "+12025550143";
const FROM: &str = "+15005550006";
const BODY: &str = "The rent of flat nine is due";

/// A database, a Twilio and an SQS.
struct World {
    database: Database,
    twilio: Twilio,
    sqs: Sqs,
}

impl World {
    async fn start() -> Self {
        Self { database: Database::create().await, twilio: Twilio::start().await, sqs: Sqs::start().await }
    }

    async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    async fn function_with(&self, changes: &[(&str, &str)]) -> Function {
        let url = self.database.url();
        let queue = self.sqs.queue("outbound");
        let mut variables = vec![
            ("DATABASE_URL", url.as_str()),
            ("OUTBOUND_QUEUE_URL", &queue),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
            ("TWILIO_ACCOUNT_SID", ACCOUNT),
            ("TWILIO_AUTH_TOKEN", TOKEN),
            ("TWILIO_API_BASE_URL", &self.twilio.url),
            ("PUBLIC_WEBHOOK_BASE_URL", "https://sms.example.com,https://other.example.com"),
        ];
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// Stores a pending message.
    async fn message(&self) -> MessageId {
        self.stored(new_send()).await
    }

    async fn stored(&self, send: NewSend) -> MessageId {
        let created = sends::create(&self.database.db(), &send, None).await.unwrap();
        assert!(matches!(created, Created::Stored { .. }), "{created:?}");
        send.id
    }

    /// Commits a STOP of the recipient.
    async fn stop(&self) {
        let opt_out = OptOutChange {
            action: OptOutAction::OptOut,
            source: OptOutSource::Keyword,
            words: Some("STOP".to_owned()),
        };
        let message = NewInbound {
            id: clock::new_id().into(),
            conversation_id: clock::new_id().into(),
            account_sid: ACCOUNT.parse().unwrap(),
            phone_number_canonical: InboundSender::from_canonical(TO),
            twilio_sid: format!("SM{}", clock::new_id().simple()).parse().unwrap(),
            from_number: TO.to_owned(),
            to_number: FROM.to_owned(),
            messaging_service_sid: None,
            message_content: "STOP".to_owned(),
            media: json!([]),
            raw_webhook_data: json!({}),
            nul_removed: false,
            language: Language::Unknown,
            language_confidence: 0.0,
            opt_out_result: OptOut::None,
            opt_out: Some(opt_out),
            request_id: "r-stop".to_owned(),
            received_at: clock::now(),
        };
        inbound::store(&self.database.db(), &[message]).await.unwrap();
    }

    /// Returns a message's status, error code and SID, and whether it is claimed.
    async fn state(&self, id: MessageId) -> String {
        self.database
            .scalar(&format!(
                "select concat_ws(' ', delivery_status, coalesce(error_code, '-'), coalesce(twilio_sid, '-'),
                     case when claimed_at is null then 'free' else 'held' end)
                 from sms_messages where id = '{id}'"
            ))
            .await
    }

    /// Returns the outcomes of a message's attempts.
    async fn attempts(&self, id: MessageId) -> String {
        let attempts = format!(
            "select coalesce(string_agg(coalesce(outcome, 'open'), ',' order by number), '')
             from sms_send_attempts where message_id = '{id}'"
        );
        self.database.scalar(&attempts).await
    }

    /// Returns for how many more seconds a sender is held.
    async fn held_for(&self, sender: &str) -> f64 {
        let held = format!(
            "select coalesce(extract(epoch from held_until - now()), 0) from sms_senders where sender = '{sender}'"
        );
        self.database.scalar(&held).await.parse().unwrap()
    }

    /// Moves all due times forward by the given seconds.
    async fn time_passes(&self, seconds: u32) {
        let earlier = format!(
            "update sms_messages set next_attempt_at = next_attempt_at - interval '{seconds} seconds';
             update sms_senders set held_until = held_until - interval '{seconds} seconds',
                 ready_at = ready_at - interval '{seconds} seconds',
                 mms_ready_at = mms_ready_at - interval '{seconds} seconds',
                 wake_at = wake_at - interval '{seconds} seconds'"
        );
        self.database.client.batch_execute(&earlier).await.unwrap();
    }

    /// Ends the day of the daily limits.
    async fn day_passes(&self) {
        let over = "update sms_senders set day_ends_at = now(), day_full_until = now()";
        self.database.client.batch_execute(over).await.unwrap();
    }

    /// Returns in how many seconds a message is due.
    async fn due_in(&self, id: MessageId) -> f64 {
        let due = format!("select extract(epoch from next_attempt_at) from sms_messages where id = '{id}'");
        self.database.scalar(&due).await.parse::<f64>().unwrap()
            - clock::now().as_millisecond() as f64 / 1_000.0
    }
}

fn new_send() -> NewSend {
    NewSend {
        account_sid: ACCOUNT.parse().unwrap(),
        sender: FROM.into(),
        message_content: BODY.to_owned(),
        ..testing::new_send(TO)
    }
}

/// Returns an SQS event with records for the given messages.
fn batch(ids: &[MessageId]) -> Value {
    let mut event: Value = serde_json::from_str(include_str!("../../events/batch.json")).unwrap();
    let template = event["Records"][0].clone();
    let records = ids.iter().enumerate().map(|(position, id)| {
        let mut record = template.clone();
        record["messageId"] = format!("m-{position}").into();
        record["body"] = json!({"version": "1", "message_id": id}).to_string().into();
        record["messageAttributes"]["request_id"]["stringValue"] = format!("req-{position}").into();
        record
    });
    event["Records"] = records.collect();
    event
}

/// Invokes the function with a batch that must succeed.
async fn send(function: &mut Function, ids: impl AsRef<[MessageId]>) {
    let response = function.call(batch(ids.as_ref())).await;
    assert!(failed(&response).is_empty(), "{response}");
}

/// Returns the values of a metric in the first `times` invocations that counted it.
async fn metric(function: &Function, name: &str, times: usize) -> Vec<Value> {
    eventually(name, async || {
        let log = function.log().await;
        let values: Vec<Value> = log.iter().filter_map(|line| line.get(name).cloned()).collect();
        (values.len() >= times).then_some(values)
    })
    .await
}

fn sid(request: usize) -> String {
    format!("SM{request:032x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_created_exactly_as_requested() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    send(&mut function, [id]).await;
    let requests = world.twilio.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line, format!("POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json HTTP/1.1"));
    assert_eq!(
        requests[0].authorization,
        "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpjMGZmZWU1MDM5ODQxMjM2ZmQyYTg3NWFmODVlNzE5NQ=="
    );
    let callback = format!("https://sms.example.com/webhook/twilio/status?message_id={id}#rc=5&rp=all");
    let form: Vec<_> = requests[0].form.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(form, [("To", TO), ("From", FROM), ("Body", BODY), ("StatusCallback", callback.as_str())]);
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
    assert_eq!(world.attempts(id).await, "accepted");
    assert_eq!(function.metric("segments_sent").await, 1.0);
    let latency = function.metric("handover_latency").await.as_f64().unwrap();
    assert!((0.0..120.0).contains(&latency), "{latency}");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_the_deadline_and_the_messaging_service_are_sent_to_twilio() {
    let world = World::start().await;
    let mut function = world.function().await;
    let mut message = new_send();
    message.sender = "MG1".into();
    message.message_content = String::new();
    message.media = json!([{"url": "https://a.example/1?x=1&y=2"}, {"url": "https://a.example/2"}]);
    message.send_before = Some(in_seconds(600));
    let begun = Instant::now();
    let id = world.stored(message).await;
    send(&mut function, [id]).await;
    let request = world.twilio.requests().remove(0);
    let media: Vec<_> =
        request.form.iter().filter(|(key, _)| key == "MediaUrl").map(|(_, value)| value.as_str()).collect();
    assert_eq!(media, ["https://a.example/1?x=1&y=2", "https://a.example/2"]);
    assert_eq!((request.value("MessagingServiceSid"), request.value("From")), (Some("MG1"), None));
    assert_eq!(request.value("Body"), None);
    let seconds: f64 = request.value("ValidityPeriod").unwrap().parse().unwrap();
    assert!(left_of(600.0, begun).contains(&seconds), "{seconds}");
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)), "accepted ranks as queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_follows_a_message_without_numbers_texts_or_secrets() {
    use twilio::Reply::{Accept, Hang, Refuse, Reset, Truncate};
    let world = World::start().await;
    let all = ("AWS_LAMBDA_LOG_LEVEL", "TRACE");
    let mut function = world.function_with(&[all]).await;
    let mut hasty = world.function_with(&[all, ("TWILIO_TIMEOUT_MS", "2000")]).await;
    let refusals = [
        Refuse(400, 21211, None),
        Refuse(400, 21610, None),
        Refuse(401, 20003, None),
        Refuse(500, 20500, None),
    ];
    for reply in [Accept, Reset, Truncate, Hang].into_iter().chain(refusals) {
        let mut message = new_send();
        message.to = format!("+120255501{:02}", world.twilio.requests().len()).parse().unwrap();
        let is_late = matches!(reply, Hang);
        world.twilio.replies([reply]);
        let id = world.stored(message).await;
        send(if is_late { &mut hasty } else { &mut function }, [id]).await;
    }
    metric(&function, "sends_misconfigured", 1).await;
    metric(&hasty, "sends_unknown", 1).await;
    let log = [function.log().await, hasty.log().await].concat();
    assert!(log.iter().any(|line| line["request_id"] == "r-1" && line["twilio_sid"] == sid(1)), "{log:?}");
    for line in log.iter().map(Value::to_string) {
        for hidden in ["55501", &FROM[5..], "rent of flat", TOKEN] {
            assert!(!line.contains(hidden), "{hidden} in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_fails_alone() {
    let world = World::start().await;
    let mut function = world.function().await;
    let id = world.message().await;
    let mut event = batch(&[id]);
    event["Records"]
        .as_array_mut()
        .unwrap()
        .push(json!({"messageId": "not-ours", "body": "{\"version\":\"9\"}"}));
    assert_eq!(failed(&function.call(event).await), ["not-ours"]);
    assert_eq!(world.state(id).await, format!("queued - {} free", sid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_unavailable_every_record_fails_without_a_request() {
    let world = World::start().await;
    let mut function = world.function().await;
    let ids = [world.message().await, world.message().await];
    world.database.client.batch_execute("alter table sms_messages rename to hidden").await.unwrap();
    assert_eq!(failed(&function.call(batch(&ids)).await), ["m-0", "m-1"]);
    assert!(world.twilio.requests().is_empty());
    world.database.client.batch_execute("alter table hidden rename to sms_messages").await.unwrap();
    send(&mut function, &ids).await;
    assert_eq!(world.twilio.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_while_the_function_was_frozen_fails_no_record() {
    let world = World::start().await;
    let mut function = world.function().await;
    let first = [world.message().await, world.message().await, world.message().await];
    send(&mut function, &first).await;
    cut_connections(&world.database).await;
    let second = world.message().await;
    send(&mut function, [second]).await;
    assert_eq!(world.state(second).await, format!("queued - {} free", sid(4)));
}

/// Terminates all database connections except the test's own.
async fn cut_connections(database: &Database) {
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    database.scalar(cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let variables = [
        ("DATABASE_URL", "nonsense"),
        ("TWILIO_TIMEOUT_MS", "soon"),
        ("SEND_RETRY_DELAYS_SECONDS", "1,x"),
        ("SEND_VERIFY_SINCE", "yesterday"),
    ];
    let mut function = Function::start(BINARY, &variables).await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in [
        "DATABASE_URL is invalid",
        "TWILIO_ACCOUNT_SID is missing",
        "TWILIO_AUTH_TOKEN is missing",
        "TWILIO_TIMEOUT_MS is invalid",
        "PUBLIC_WEBHOOK_BASE_URL is missing",
        "OUTBOUND_QUEUE_URL is missing",
        "SEND_RETRY_DELAYS_SECONDS",
        "SEND_VERIFY_SINCE is invalid",
    ] {
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_are_followed_by_one_hint_about_their_events() {
    let world = World::start().await;
    let queue = world.sqs.queue("events");
    let mut function = world.function_with(&[("EVENTS_QUEUE_URL", &queue)]).await;
    let ids = [world.message().await, world.message().await];
    for _ in 0..2 {
        send(&mut function, ids).await;
    }
    let hints: Vec<_> = world.sqs.sent().into_iter().filter(|sent| sent.queue_url == queue).collect();
    assert_eq!(hints.iter().map(|sent| &sent.body).collect::<Vec<_>>(), [&json!({"version": "1"})]);
}

/// Returns the time in the given number of seconds.
fn in_seconds(seconds: i64) -> Timestamp {
    clock::now() + jiff::SignedDuration::from_secs(seconds)
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // The claim, up to three attempts, and the record of the outcome.
    environment::check::<send_outbound::Config>(
        "send-outbound",
        Duration::ZERO,
        &[("DATABASE_CONNECT_TIMEOUT_MS", 2), ("DATABASE_STATEMENT_TIMEOUT_MS", 2), ("TWILIO_TIMEOUT_MS", 3)],
    );
}
