//! Quiet hours: which messages are postponed, until when, and which are not.

use crate::{ACCOUNT, TO, World, new_send, send, sid};
use common::clock;
use common::db::sends::NewSend;
use common::domain::ids::MessageId;
use common::domain::message::Purpose;
use jiff::{SignedDuration, Timestamp};
use testing::Function;

/// Quiet hours in UTC, Iceland's time all year, that began an hour ago and end in two.
fn now_in_iceland() -> String {
    let time = |hours: i64| (clock::now() + SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    format!("{}-{}", time(-1), time(2))
}

impl World {
    async fn quiet(&self) -> Function {
        let zone = ("QUIET_HOURS_DEFAULT_TIME_ZONE", "Atlantic/Reykjavik");
        self.function_with(&[("QUIET_HOURS", &now_in_iceland()), zone]).await
    }

    /// Stores a message to a toll-free number, which has no time zone.
    async fn to_toll_free_number(&self, priority: &str) -> MessageId {
        self.store_for(Purpose::Service, priority).await
    }

    async fn store_for(&self, purpose: Purpose, priority: &str) -> MessageId {
        let to = "+18005550123".to_owned();
        self.stored(NewSend {
            to: to.parse().unwrap(),
            to_original: to,
            priority: priority.parse().unwrap(),
            purpose,
            ..new_send()
        })
        .await
    }

    async fn due_at(&self, id: MessageId) -> Timestamp {
        let due = format!(
            "select to_char(next_attempt_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
                from sms_messages where id = '{id}'"
        );
        self.database.scalar(&due).await.parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_the_end_of_quiet_hours_and_an_urgent_one_does_not() {
    let world = World::start().await;
    let mut function = world.quiet().await;
    let (normal, bulk) = (world.to_toll_free_number("normal").await, world.to_toll_free_number("bulk").await);
    let urgent = world.to_toll_free_number("urgent").await;
    // In New York it is another time of day.
    let elsewhere = world.message().await;
    send(&mut function, [bulk, elsewhere]).await;
    for id in [normal, bulk] {
        assert_eq!(world.state(id).await, "pending - - free");
        assert_eq!(world.attempts(id).await, "");
        let wait = world.due_at(id).await.duration_since(clock::now()).as_secs();
        // Quiet hours end at a full minute.
        assert!((3_600..=7_200).contains(&wait), "{wait}");
    }
    assert!(world.state(urgent).await.starts_with("queued"));
    assert!(world.state(elsewhere).await.starts_with("queued"));
    assert_eq!(world.twilio.requests().len(), 2);
    assert_eq!(world.sqs.sent(), [], "no sender is woken before the end of quiet hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_purpose_has_its_own_hours_in_a_table() {
    let world = World::start().await;
    // Marketing is closed today in Iceland and opens at midnight or later.
    let today = clock::now().strftime("%a").to_string();
    let days: Vec<&str> = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
        .into_iter()
        .filter(|day| !today.starts_with(day))
        .collect();
    let table = format!(
        "service * * 00:00-24:00; marketing * {} 00:00-24:00; marketing * {today} 23:59-24:00",
        days.join(",")
    );
    let zone = ("QUIET_HOURS_DEFAULT_TIME_ZONE", "Atlantic/Reykjavik");
    let mut function = world.function_with(&[("QUIET_HOURS", &table), zone]).await;
    let marketing = world.store_for(Purpose::Marketing, "normal").await;
    let service = world.store_for(Purpose::Service, "normal").await;
    let emergency = world.store_for(Purpose::Emergency, "bulk").await;
    send(&mut function, [emergency]).await;
    assert_eq!(world.state(marketing).await, "pending - - free");
    assert!(world.state(service).await.starts_with("queued"));
    assert!(world.state(emergency).await.starts_with("queued"));
    assert!(world.due_at(marketing).await > clock::now());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_zone_of_the_conversation_takes_precedence_over_the_number() {
    let world = World::start().await;
    let mut function = world.quiet().await;
    let id = world.message().await;
    world
        .database
        .client
        .batch_execute("update sms_conversations set time_zone = 'Africa/Abidjan'")
        .await
        .unwrap();
    send(&mut function, [id]).await;
    assert_eq!(world.state(id).await, "pending - - free");
    assert!(world.twilio.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_messages_in_quiet_hours_are_postponed_and_block_no_other_message() {
    let world = World::start().await;
    let mut function = world.quiet().await;
    let awake = world.message().await;
    let many = format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
             values (gen_random_uuid(), '{ACCOUNT}', '+18005550199', '', now());
         insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
         delivery_status,
             priority, next_attempt_at, created_at)
         select gen_random_uuid(), c.id, 'outbound', '+15005550006', '+18005550199', '', 'pending',
             'normal', now() - interval '1 minute', now()
         from sms_conversations c, generate_series(1, 550) n where c.phone_number_canonical <> '{TO}'"
    );
    world.database.client.batch_execute(&many).await.unwrap();
    send(&mut function, [awake]).await;
    assert_eq!(world.state(awake).await, format!("queued - {} free", sid(1)));
    let due =
        "select count(*) from sms_messages where delivery_status = 'pending' and next_attempt_at <= now()";
    assert_eq!(world.database.scalar(due).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_quiet_hours_stop_the_cold_start() {
    let variables = [("QUIET_HOURS", "nine to five"), ("QUIET_HOURS_DEFAULT_TIME_ZONE", "Mars/Olympus")];
    let mut function = Function::start(crate::BINARY, &variables).await;
    let error = function.ended().await[0]["error"].as_str().unwrap().to_owned();
    let reason = r#"QUIET_HOURS is invalid ("nine to five": is not a purpose, a state, weekdays and hours)"#;
    assert!(error.contains(reason), "{error}");
}
