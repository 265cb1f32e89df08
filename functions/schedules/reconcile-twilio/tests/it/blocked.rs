//! Failures and slow responses of Twilio do not block the rest of the reconciliation.

use super::*;
use std::time::Duration;
use testing::eventually;
use wiremock::Request;
use wiremock::matchers::path_regex;

const MESSAGES: &str = "/2010-04-01/Accounts/AC1/Messages";

fn refused(status: u16, code: u32) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"code": code, "message": "no", "status": status}))
}

fn mms(sid: &str, body: &str) -> Value {
    let mut message = inbound(sid, body, HOUR);
    message["num_media"] = "1".into();
    message
}

impl World {
    async fn respond_with(&self, resource: &str, response: ResponseTemplate, times: impl Into<Option<u64>>) {
        let mock = Mock::given(path(format!("{MESSAGES}{resource}"))).respond_with(response).with_priority(1);
        let mock = match times.into() {
            Some(times) => mock.up_to_n_times(times),
            None => mock,
        };
        mock.mount(&self.twilio).await;
    }

    /// Returns the SIDs of the messages that were fetched one by one.
    async fn fetched(&self) -> Vec<String> {
        let asked = self.twilio.received_requests().await.unwrap();
        let sid = |request: &Request| {
            Some(
                request
                    .url
                    .path()
                    .strip_prefix(MESSAGES)?
                    .strip_prefix('/')?
                    .trim_end_matches(".json")
                    .to_owned(),
            )
        };
        asked.iter().filter_map(sid).collect()
    }

    /// Makes Twilio return single messages after a delay.
    async fn returns_slowly(&self, status: &str) {
        Mock::given(path_regex(format!("^{MESSAGES}/SM[0-9]+.json$")))
            .respond_with(
                ResponseTemplate::new(200)
                    .set_body_json(outbound("SM1", status, Value::Null))
                    .set_delay(Duration::from_millis(300)),
            )
            .mount(&self.twilio)
            .await;
    }
}

fn list_media(sid: &str) -> ResponseTemplate {
    let media = json!({"uri": format!("{MESSAGES}/{sid}/Media/ME1.json"), "content_type": "image/png"});
    ResponseTemplate::new(200).set_body_json(json!({"media_list": [media]}))
}

const MEDIA: &str =
    "select string_agg(twilio_sid || ' ' || jsonb_array_length(media), ',' order by twilio_sid)
    from sms_messages where direction = 'inbound'";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_twilio_never_returns_does_not_block_others_nor_lost_inbound_messages() {
    for failure in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("<html>"),
        refused(400, 20001),
    ] {
        let world = World::start().await;
        world.taken("SM1", "queued").await;
        world.taken("SM2", "queued").await;
        world.lists(&[vec![inbound("SM3", "No heat", HOUR)]]).await;
        world.respond_with("/SM1.json", failure, None).await;
        let failed = outbound("SM2", "failed", json!(30007));
        world.respond_with("/SM2.json", ResponseTemplate::new(200).set_body_json(failed), None).await;
        let mut function = world.function().await;
        let response = function.call(event()).await;
        assert_eq!(
            (&response["inbound_recovered"], &response["set_aside"]),
            (&json!(1), &json!(1)),
            "{response}"
        );
        assert_eq!(world.messages().await, "SM1 outbound queued,SM2 outbound failed,SM3 inbound received");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_media_are_gone_is_stored_without_them() {
    let world = World::start().await;
    world.lists(&[vec![mms("MM1", "look"), mms("MM2", "here")]]).await;
    world.respond_with("/MM1/Media.json", refused(404, 20404), None).await;
    world.respond_with("/MM2/Media.json", list_media("MM2"), None).await;
    let response = world.function().await.call(event()).await;
    assert_eq!(
        (&response["inbound_recovered"], &response["set_aside"]),
        (&json!(2), &json!(0)),
        "{response}"
    );
    assert_eq!(world.database.scalar(MEDIA).await, "MM1 0,MM2 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_media_cannot_be_listed_waits_for_a_later_run_even_in_a_given_window() {
    let world = World::start().await;
    world.lists(&[vec![mms("MM1", "look\u{0}"), mms("MM2", "STOP")]]).await;
    world.respond_with("/MM1/Media.json", ResponseTemplate::new(503), 1).await;
    world.respond_with("/MM1/Media.json", list_media("MM1"), None).await;
    world.respond_with("/MM2/Media.json", ResponseTemplate::new(503), None).await;
    let mut function = world.function().await;
    let window = json!({"since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"});
    let response = function.call(window).await;
    assert_eq!(
        (&response["inbound_recovered"], &response["set_aside"]),
        (&json!(1), &json!(1)),
        "{response}"
    );
    assert_eq!(world.database.scalar(MEDIA).await, "MM2 0", "a STOP does not wait");
    // The message is no longer listed, since the scheduled run has another window.
    let empty = ResponseTemplate::new(200).set_body_json(json!({"messages": [], "next_page_uri": null}));
    world.respond_with(".json", empty, None).await;
    assert_eq!(function.call(event()).await["inbound_recovered"], 1);
    assert_eq!(world.database.scalar(MEDIA).await, "MM1 1,MM2 0");
    assert_eq!(
        world.database.scalar("select message_content from sms_messages where twilio_sid = 'MM1'").await,
        "look"
    );
    assert_eq!(world.database.scalar("select count(*) from twilio_awaiting_media").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_media_are_never_listed_is_stored_without_them() {
    let world = World::start().await;
    world.lists(&[vec![mms("MM1", "look")]]).await;
    world.respond_with("/MM1/Media.json", ResponseTemplate::new(503), None).await;
    let mut function = world.function().await;
    let mut stored = Vec::new();
    for _ in 0..7 {
        stored.push(function.call(event()).await["inbound_recovered"].clone());
    }
    assert_eq!(json!(stored), json!([0, 0, 0, 0, 0, 1, 0]));
    assert_eq!(world.database.scalar(MEDIA).await, "MM1 0");
    assert_eq!(world.database.scalar("select count(*) from twilio_awaiting_media").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_window_is_abandoned_while_our_credentials_are_refused() {
    let world = World::start().await;
    let pages = [vec![mms("MM1", "look")], vec![inbound("SM2", "older", HOUR * 2)]];
    world.lists(&pages).await;
    // Twilio returns the first page and then refuses the token.
    Mock::given(query_param("Page", "1"))
        .respond_with(refused(401, 20003))
        .with_priority(1)
        .mount(&world.twilio)
        .await;
    world.respond_with("/MM1/Media.json", refused(401, 20003), None).await;
    let mut function = world.function().await;
    let window = json!({"since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"});
    assert!(matches!(function.invoke(window).await, Outcome::Error(_)));
    // Scheduled runs continue with the window meanwhile.
    for _ in 1..30 {
        assert!(matches!(function.invoke(event()).await, Outcome::Error(_)));
    }
    let kept = "select count(*) from twilio_reconciliation_cursors where since = '2026-11-01' \
        and position like '%Page=1'";
    assert_eq!(world.database.scalar(kept).await, "1");
    world.lists(&pages).await;
    world.respond_with("/MM1/Media.json", list_media("MM1"), None).await;
    let response = function.call(event()).await;
    assert_eq!(response["inbound_recovered"], 2, "{response}");
    assert_eq!(world.cursors().await, "0");
    assert_eq!(world.database.scalar(MEDIA).await, "MM1 1,SM2 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_window_that_fails_at_once_is_saved_and_a_scheduled_one_is_not() {
    let world = World::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(503)).mount(&world.twilio).await;
    let mut function = world.function().await;
    let window = json!({"since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"});
    assert!(matches!(function.invoke(window).await, Outcome::Error(_)));
    assert!(matches!(function.invoke(event()).await, Outcome::Error(_)));
    let kept = "select string_agg(concat_ws(' ', since::date, part, position), ',') from twilio_reconciliation_cursors";
    assert_eq!(world.database.scalar(kept).await, "2026-11-01 list");
    world.lists(&[vec![]]).await;
    assert_eq!(function.call(event()).await["unfinished"], false);
    assert_eq!(world.cursors().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_restarts_if_twilio_does_not_know_its_next_page() {
    let world = World::start().await;
    world.lists(&[vec![], vec![inbound("SM1", "hello", HOUR)]]).await;
    world.left_over("Page=7", 0).await;
    Mock::given(query_param("Page", "7")).respond_with(refused(400, 20001)).mount(&world.twilio).await;
    let response = world.function().await.call(event()).await;
    assert_eq!((&response["inbound_recovered"], &response["unfinished"]), (&json!(1), &json!(false)));
    assert_eq!(world.cursors().await, "0");
    let asked = world.twilio.received_requests().await.unwrap();
    let day = |request: &&Request| request.url.query().unwrap().contains("2026-11-01");
    assert_eq!(asked.iter().filter(day).count(), 1, "its first page");
}

impl World {
    /// Stores the cursor of an unfinished window.
    async fn left_over(&self, page: &str, failures: i32) {
        let sql = format!(
            "insert into twilio_reconciliation_cursors (since, until, part, position, failures, updated_at)
             values ('2026-11-01', '2026-11-02', 'list', '{LIST}?{page}', {failures}, now() - interval '1 hour')"
        );
        self.database.client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_always_fails_does_not_block_another_and_is_abandoned_after_a_day() {
    let world = World::start().await;
    world.lists(&[vec![inbound("SM1", "No heat", HOUR)]]).await;
    world.left_over("Page=7", 22).await;
    Mock::given(query_param("Page", "7")).respond_with(ResponseTemplate::new(500)).mount(&world.twilio).await;
    let mut function = world.function().await;
    assert!(
        matches!(function.invoke(event()).await, Outcome::Error(_)),
        "the invocation fails, for the alarm"
    );
    assert_eq!(world.messages().await, "SM1 inbound received");
    assert_eq!(world.database.scalar("select failures from twilio_reconciliation_cursors").await, "23");
    assert!(matches!(function.invoke(event()).await, Outcome::Error(_)));
    assert_eq!(world.cursors().await, "0");
    let lines = function.lines();
    eventually("it is logged", async || {
        lines.lock().await.iter().any(|line| line.contains("reconciliation window abandoned")).then_some(())
    })
    .await;
    function.call(event()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsent_messages_left_by_a_run_are_fetched_once_by_later_runs() {
    let world = World::start().await;
    for number in 1..=70 {
        world.taken(&format!("SM{number:02}"), "queued").await;
    }
    world.lists(&[vec![inbound("SM99", "No heat", HOUR)]]).await;
    // Four at a time in 300 ms: 1.5 s for each page of 20. New pages start within 1.8 s.
    world.returns_slowly("queued").await;
    let mut function = world.function_with(&[("RECONCILE_BUDGET_SECONDS", "13")]).await;
    let response = function.call(event()).await;
    assert_eq!(
        (&response["inbound_recovered"], &response["unfinished"]),
        (&json!(1), &json!(true)),
        "{response}"
    );
    let mut runs = 1;
    while world.fetched().await.len() < 70 {
        function.call(event()).await;
        runs += 1;
        assert!(runs < 20, "the runs make no progress");
    }
    let mut fetched = world.fetched().await;
    fetched.truncate(70);
    fetched.sort();
    fetched.dedup();
    assert_eq!(fetched.len(), 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_does_not_end_is_stopped_and_the_others_run() {
    let world = World::start().await;
    world.taken("SM1", "queued").await;
    world.lists(&[vec![mms("MM1", "look"), inbound("SM3", "No heat", HOUR)]]).await;
    let hangs = ResponseTemplate::new(200).set_delay(Duration::from_secs(100));
    world.respond_with("/SM1.json", hangs, None).await;
    world.respond_with("/MM1/Media.json", list_media("MM1"), None).await;
    let mut function = world.function_with(&[("RECONCILE_BUDGET_SECONDS", "20")]).await;
    assert!(matches!(function.invoke(event()).await, Outcome::Error(_)));
    assert_eq!(world.messages().await, "MM1 inbound received,SM1 outbound queued,SM3 inbound received");
}
