//! Runs the binary through the Runtime API with a real Postgres.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use testing::{Behaviour, Database, Function, Outcome, Sqs, environment};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const BINARY: &str = env!("CARGO_BIN_EXE_retry-events");

fn event() -> Value {
    serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()
}

struct World {
    database: Database,
    sqs: Sqs,
    ids: Vec<String>,
}

impl World {
    async fn start() -> Self {
        let database = Database::create().await;
        let ids = database.conversations(1).await;
        Self { database, sqs: Sqs::start().await, ids }
    }

    async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    async fn function_with(&self, more: &[(&str, &str)]) -> Function {
        let (database, events, slow) =
            (self.database.url(), self.sqs.queue("events"), self.sqs.queue("slow-events"));
        let variables = [
            ("DATABASE_URL", database.as_str()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
            ("EVENTS_QUEUE_URL", &events),
            ("SLOW_EVENTS_QUEUE_URL", &slow),
        ];
        Function::start(BINARY, &[&variables, more].concat()).await
    }

    async fn subscribe(&self, change: &str) -> String {
        self.database.subscribe("https://example.com/", change).await
    }

    async fn write(&self) {
        self.database.write_events(&[&self.ids[0]]).await;
    }

    async fn run(&self, sql: &str) {
        self.database.client.batch_execute(sql).await.unwrap();
    }

    /// The hinted subscriptions, each with the name of its queue.
    fn hinted(&self) -> Vec<String> {
        let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
        let id = |body: &Value| body["subscription_id"].as_str().unwrap().to_owned();
        self.sqs.sent().iter().map(|sent| format!("{} {}", name(&sent.queue_url), id(&sent.body))).collect()
    }
}

async fn fails(function: &mut Function) -> String {
    match function.invoke(event()).await {
        Outcome::Error(error) => error["errorMessage"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_whose_hint_was_never_sent_are_found() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.subscribe("event_types = '{message.received}'").await;
    world.write().await;
    let mut function = world.function().await;
    let swept = function.call(event()).await;
    assert_eq!((&swept["streams_matched"], &swept["streams_hinted"]), (&json!(1), &json!(0)));
    assert_eq!(world.hinted(), [format!("events {id}")]);
    assert_eq!(world.sqs.sent()[0].body, json!({"version": "2", "subscription_id": id, "kind": "live"}));
    assert_eq!(function.call(event()).await["streams_hinted"], 0, "the hint is on the queue");
    world.run("update sms_delivery_streams set hinted_at = now() - interval '61 s'").await;
    assert_eq!(function.call(event()).await["streams_hinted"], 1, "it was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn due_retries_are_hinted_on_the_queue_of_their_receiver() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.subscribe("").await);
    }
    let [due, slow, later] = [&ids[0], &ids[1], &ids[2]];
    world
        .run(&format!(
            "update sms_delivery_streams set next_due_at = now();
             update sms_delivery_streams set slow_until = now() + interval '1 minute' where subscription_id = '{slow}';
             update sms_delivery_streams set next_due_at = now() + interval '1 hour' where subscription_id = '{later}'"
        ))
        .await;
    assert_eq!(world.function().await.call(event()).await["streams_hinted"], 2);
    assert_eq!(world.hinted(), [format!("events {due}"), format!("slow-events {slow}")]);
    assert_eq!(world.sqs.sent()[1].body["slow"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_subscriptions_are_warned_about_and_disabled_and_others_hear_of_it() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for hours in [59, 61, 109, 121] {
        ids.push(world.subscribe(&format!("failing_since = now() - interval '{hours} hours'")).await);
    }
    let listener = world.subscribe("event_types = '{subscription.warning,subscription.disabled}'").await;
    let mut function = world.function().await;
    let swept = function.call(event()).await;
    assert_eq!((&swept["subscriptions_warned"], &swept["subscriptions_disabled"]), (&json!(2), &json!(1)));
    let states = "select string_agg(status || warned_percent, ' ' order by id) from sms_subscriptions";
    assert_eq!(world.database.scalar(states).await, "active0 active50 active90 disabled0 active0");
    let written = "select string_agg(concat_ws(' ', event_type, body::jsonb->'data'->>'percent',
        body::jsonb->'data'->>'reason'), ',' order by position) from sms_events";
    let expected = "subscription.warning 50,subscription.warning 90,subscription.disabled failing";
    assert_eq!(world.database.scalar(written).await, expected);
    assert!(world.hinted().contains(&format!("events {listener}")), "in the same run");
    assert_eq!(function.metric("subscriptions_disabled").await, 1.0);
    let again = function.call(event()).await;
    assert_eq!((&again["subscriptions_warned"], &again["subscriptions_disabled"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_the_alarms_gets_each_event_about_a_subscription_even_if_sns_fails_first() {
    let world = World::start().await;
    let id = world.subscribe("failing_since = now() - interval '61 hours'").await;
    let other = world.subscribe("failing_since = now() - interval '121 hours'").await;
    let sns = MockServer::start().await;
    let (uri, arn) = (sns.uri(), "arn:aws:sns:us-east-1:000000000000:alarms");
    let variables = [("AWS_ENDPOINT_URL_SNS", uri.as_str()), ("ALARM_TOPIC_ARN", arn)];
    let mut function = world.function_with(&variables).await;
    // Nothing is mounted: SNS answers 404.
    assert!(fails(&mut function).await.contains("1 parts of the sweep failed"));
    sns.reset().await;
    let published =
        "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_body_string(published))
        .mount(&sns)
        .await;
    assert_eq!(function.call(event()).await["notices_published"], 2);
    assert_eq!(function.call(event()).await["notices_published"], 0, "each once");
    let requests = sns.received_requests().await.unwrap();
    let messages: Vec<_> = requests
        .iter()
        .map(|request| {
            form_urlencoded::parse(&request.body).into_owned().collect::<HashMap<String, String>>()
        })
        .map(|form| (form["TopicArn"].clone(), serde_json::from_str::<Value>(&form["Message"]).unwrap()))
        .map(|(arn, event)| (arn, event["type"].clone(), event["data"]["subscription_id"].clone()))
        .collect();
    assert_eq!(
        messages,
        [
            (arn.to_owned(), json!("subscription.warning"), json!(id)),
            (arn.to_owned(), json!("subscription.disabled"), json!(other)),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_topic_events_about_subscriptions_are_skipped() {
    let world = World::start().await;
    world.subscribe("failing_since = now() - interval '61 hours'").await;
    assert_eq!(world.function().await.call(event()).await["notices_published"], 0);
    let skipped = "select c.position = e.last_position from sms_notice_counter c, sms_event_counter e";
    assert_eq!(world.database.scalar(skipped).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_secrets_and_complete_replays_are_removed_and_the_backlog_is_reported() {
    let world = World::start().await;
    let id = world.subscribe("previous_secret = 'whsec_b2xk', previous_until = now()").await;
    world
        .run(&format!(
            "insert into sms_delivery_streams (subscription_id, kind, position, target) values ('{id}', 'replay', 5, 5);
             insert into sms_deliveries (subscription_id, kind, position, event_id, next_attempt_at)
             select '{id}', 'live', n, gen_random_uuid(), now() + interval '1 hour' from generate_series(1, 3) n"
        ))
        .await;
    let mut function = world.function().await;
    assert_eq!(function.call(event()).await["events_undelivered"], 3);
    assert_eq!(function.metric("events_undelivered").await, 3.0);
    assert_eq!(world.database.scalar("select count(previous_secret) from sms_subscriptions").await, "0");
    assert_eq!(world.database.scalar("select string_agg(kind, ' ') from sms_delivery_streams").await, "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_sqs_refuses_are_sent_by_the_next_run() {
    let world = World::start().await;
    world.subscribe("").await;
    world.write().await;
    world.sqs.behave(Behaviour::Fails);
    let mut function = world.function().await;
    // The comparison could not send it, and then the search for due streams could not either.
    assert!(fails(&mut function).await.contains("2 parts of the sweep failed"));
    world.sqs.behave(Behaviour::Accepts);
    assert_eq!(function.call(event()).await["streams_hinted"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_part_does_not_stop_others_and_fails_the_run() {
    let world = World::start().await;
    let id = world.subscribe("").await;
    world.write().await;
    world.run("alter table sms_deliveries rename to hidden").await;
    let mut function = world.function().await;
    assert!(fails(&mut function).await.contains("2 parts of the sweep failed"));
    assert_eq!(world.hinted(), [format!("events {id}")]);
    world.run("alter table hidden rename to sms_deliveries").await;
    function.call(event()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let variables = [("DATABASE_URL", "nonsense"), ("EVENTS_DISABLE_AFTER_SECONDS", "0")];
    let mut function = Function::start(BINARY, &variables).await;
    let log = function.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in [
        "DATABASE_URL is invalid",
        "EVENTS_QUEUE_URL is missing",
        "SLOW_EVENTS_QUEUE_URL is missing",
        "EVENTS_DISABLE_AFTER_SECONDS must be between",
    ] {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    environment::check::<retry_events::Config>(
        "retry-events",
        Duration::ZERO,
        &[environment::CONNECT, environment::STATEMENT, ("SQS_SEND_BUDGET_MS", 1)],
    );
}
