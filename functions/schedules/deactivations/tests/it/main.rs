//! Runs the binary through the Runtime API with a real Postgres and a Twilio with configurable lists.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod twilio;

use axum::http::StatusCode;
use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::time::Duration;
use testing::{Database, Function, Outcome, environment, skipped};
use twilio::{File, Twilio};

const BINARY: &str = env!("CARGO_BIN_EXE_deactivations");
const TENANT: &str = "+12025550143";
const OTHER: &str = "+12025550144";
const UNKNOWN: &str = "+12025550199";

struct World {
    database: Database,
    twilio: Twilio,
}

impl World {
    /// Starts Postgres, with conversations with [`TENANT`] and [`OTHER`], and Twilio without lists.
    async fn start() -> Self {
        let world = Self { database: Database::create().await, twilio: Twilio::start().await };
        for number in [TENANT, OTHER] {
            world.conversation(number).await;
        }
        world
    }

    async fn conversation(&self, number: &str) {
        let sql = format!(
            "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
             values (sms_new_id(), 'AC1', '{number}', '{number}', now())"
        );
        self.database.client.batch_execute(&sql).await.unwrap();
    }

    async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    async fn function_with(&self, changes: &[(&str, &str)]) -> Function {
        let url = self.database.url();
        let mut variables = vec![
            ("DATABASE_URL", url.as_str()),
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_AUTH_TOKEN", "token"),
            ("TWILIO_MESSAGING_API_BASE_URL", &self.twilio.url),
        ];
        variables.extend(changes);
        Function::start(BINARY, &variables).await
    }

    /// Returns the marked numbers with the day of their list.
    async fn marked(&self) -> String {
        let sql = "select coalesce(string_agg(
                phone_number_canonical || ' ' || (deactivated_at at time zone 'UTC')::date, ', '
                order by phone_number_canonical), '')
            from sms_conversations where deactivated_at is not null";
        self.database.scalar(sql).await
    }

    async fn events(&self) -> String {
        let sql = "select count(*) from sms_events_pending where event_type = 'contact.number_deactivated'";
        self.database.scalar(sql).await
    }

    /// Returns the days that were read to their end, with their numbers and how many were marked.
    async fn days(&self) -> String {
        let sql = "select coalesce(string_agg(concat_ws(' ', day, numbers, marked), ', ' order by day), '')
            from sms_deactivation_days";
        self.database.scalar(sql).await
    }
}

fn event() -> Value {
    serde_json::from_str(include_str!("../../events/schedule.json")).unwrap()
}

/// Returns the date some days before today, in UTC.
fn day(days_ago: i64) -> String {
    let today = common::clock::now().to_zoned(TimeZone::UTC).date();
    today.saturating_sub(days_ago.days()).to_string()
}

fn text(numbers: &[&str]) -> File {
    File::Text(numbers.iter().flat_map(|number| [*number, "\n"]).collect())
}

/// Runs the function, which must fail, and returns the error.
async fn failure(function: &mut Function) -> String {
    match function.invoke(event()).await {
        Outcome::Error(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_with_a_conversation_are_marked_once_and_other_lines_are_counted() {
    let world = World::start().await;
    let lines = format!("{TENANT}\n{UNKNOWN}\r\n\nnumber\n 12025550144\n{TENANT}\n{OTHER}");
    world.twilio.list(&day(1), File::Text(lines));
    let mut function = world.function().await;
    let response = function.call(event()).await;
    assert_eq!(response["read"], json!([day(1)]), "{response}");
    assert_eq!((&response["numbers"], &response["malformed"]), (&json!(4), &json!(2)));
    assert_eq!((&response["marked"], &response["unfinished"]), (&json!(2), &json!(false)));
    assert_eq!(response["missing"].as_array().unwrap().len(), 6);
    assert_eq!(world.marked().await, format!("{TENANT} {0}, {OTHER} {0}", day(1)));
    assert_eq!(
        (world.events().await.as_str(), function.metric("numbers_deactivated").await),
        ("2", json!(2.0))
    );
    assert_eq!(world.days().await, format!("{} 4 2", day(1)));

    world.twilio.asked();
    let again = function.call(event()).await;
    assert_eq!((&again["read"], &again["marked"]), (&json!([]), &json!(0)));
    assert!(!world.twilio.asked().contains(&day(1)));
    assert_eq!(world.events().await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_are_sent_to_twilio_and_not_to_the_address_of_the_redirect() {
    let world = World::start().await;
    world.twilio.list(&day(2), text(&[TENANT]));
    world.function().await.call(event()).await;
    let credentials = world.twilio.credentials();
    assert_eq!(credentials.len(), 7);
    // AC1:token
    assert!(credentials.iter().all(|credentials| credentials == "Basic QUMxOnRva2Vu"), "{credentials:?}");
    let files = world.twilio.file_requests();
    assert_eq!(files.len(), 1);
    assert!(!files[0].contains_key("authorization"), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_were_missed_are_caught_up_for_a_week() {
    let world = World::start().await;
    for days_ago in [8, 7, 3, 1] {
        world.twilio.list(&day(days_ago), text(&[UNKNOWN]));
    }
    let mut function = world.function().await;
    let response = function.call(event()).await;
    assert_eq!(response["read"], json!([day(7), day(3), day(1)]));
    assert_eq!(response["missing"], json!([day(6), day(5), day(4), day(2)]));
    assert_eq!(world.twilio.asked(), [7, 6, 5, 4, 3, 2, 1].map(day));

    world.twilio.list(&day(2), text(&[TENANT]));
    let response = function.call(event()).await;
    assert_eq!(response["read"], json!([day(2)]));
    assert_eq!(world.twilio.asked(), [6, 5, 4, 2].map(day));
    assert_eq!(world.marked().await, format!("{TENANT} {}", day(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_read_is_read_again_and_does_not_stop_the_others() {
    for broken in [
        File::BreaksOff(format!("{TENANT}\n")),
        File::Status(StatusCode::FORBIDDEN),
        File::Text("<html>\nno list\n".to_owned()),
    ] {
        let world = World::start().await;
        world.twilio.list(&day(2), broken);
        world.twilio.list(&day(1), text(&[OTHER]));
        let mut function = world.function().await;
        assert!(failure(&mut function).await.contains("could not read the lists of 1 days"));
        assert_eq!(world.days().await, format!("{} 1 1", day(1)));

        world.twilio.list(&day(2), text(&[TENANT, OTHER]));
        assert_eq!(function.call(event()).await["read"], json!([day(2)]));
        assert_eq!(world.marked().await, format!("{TENANT} {}, {OTHER} {}", day(2), day(1)));
        assert_eq!(world.events().await, "2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_twilio_and_redirects_to_other_schemes_fail_the_run_without_a_secret_in_the_log() {
    let world = World::start().await;
    world.twilio.list(&day(1), text(&[TENANT]));
    let mut function = world.function().await;
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, StatusCode::UNAUTHORIZED] {
        world.twilio.respond_with(Some(status));
        assert!(failure(&mut function).await.contains("could not read the lists of 7 days"), "{status}");
    }
    world.twilio.respond_with(None);
    for location in ["ftp://127.0.0.1/x?secret", "http://127.0.0.1:1/x?secret"] {
        world.twilio.redirect_to(location);
        assert!(failure(&mut function).await.contains("could not read the lists of 1 days"), "{location}");
    }
    assert_eq!((world.days().await, world.marked().await), (String::new(), String::new()));
    let log = json!(function.log().await).to_string();
    assert!(log.contains("without TLS") && log.contains("HTTP 503"), "{log}");
    assert!(!log.contains("secret") && !log.contains("token") && !log.contains("+1202555"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_does_not_end_is_left_to_the_next_run() {
    let world = World::start().await;
    let mut function = world.function_with(&[("DEACTIVATIONS_BUDGET_SECONDS", "4")]).await;
    // Far more lines than a run can read.
    world.twilio.list(&day(1), File::Lines(1 << 40));
    let response = function.call(event()).await;
    assert_eq!((&response["read"], &response["unfinished"]), (&json!([]), &json!(true)), "{response}");
    world.twilio.list(&day(1), File::Hangs(format!("{TENANT}\n")));
    assert!(failure(&mut function).await.contains("timed out after 4000 ms"));
    assert_eq!(world.days().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_mark_a_number_once() {
    let world = World::start().await;
    for days_ago in [3, 2, 1] {
        world.twilio.list(&day(days_ago), text(&[TENANT, OTHER]));
    }
    let (mut one, mut two) = (world.function().await, world.function().await);
    let (one, two) = tokio::join!(one.call(event()), two.call(event()));
    assert_eq!(one["marked"].as_i64().unwrap() + two["marked"].as_i64().unwrap(), 2, "{one} {two}");
    assert_eq!(world.events().await, "2");
    assert_eq!(world.database.scalar("select count(*) from sms_deactivation_days").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_lines_fit_into_64_megabytes() {
    let world = World::start().await;
    world.conversation("+12000500000").await;
    world.twilio.list(&day(1), File::Lines(1_000_000));
    let mut function = world.function().await;
    let response = function.call(event()).await;
    assert_eq!((&response["numbers"], &response["marked"]), (&json!(1_000_000), &json!(1)), "{response}");
    match function.peak_memory_kib() {
        Some(peak) => assert!(peak < 64 * 1024, "{peak} KiB"),
        None => skipped("a_million_lines_fit_into_64_megabytes", "this system has no /proc"),
    }
}

#[tokio::test]
async fn an_invalid_configuration_stops_the_cold_start_with_every_problem_named() {
    let variables = [("TWILIO_MESSAGING_API_BASE_URL", "nonsense"), ("DEACTIVATIONS_DAYS", "0")];
    let log = Function::start(BINARY, &variables).await.ended().await;
    let error = log[0]["error"].as_str().unwrap();
    for problem in [
        "DATABASE_URL is missing",
        "TWILIO_ACCOUNT_SID is missing",
        "TWILIO_MESSAGING_API_BASE_URL is not a URL",
        "DEACTIVATIONS_DAYS must be",
    ] {
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_environment_and_the_timeout_match_the_template() {
    // The budget limits everything.
    environment::check::<deactivations::Config>("deactivations", Duration::from_secs(240), &[]);
}
