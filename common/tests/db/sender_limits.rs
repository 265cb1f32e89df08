//! Limits of senders per second and per day, also for claims that race.

use crate::now;
use crate::sends::new_send;
use common::db::sends::{self, ClaimRequest, Claims, NewSend, SendPace};
use common::db::{Db, messages, senders};
use common::domain::ids::MessageId;
use common::domain::message::Priority;
use common::domain::pace::SenderLimits;
use common::domain::sender::Sender;
use jiff::{Timestamp, ToSpan};
use serde_json::json;
use std::time::Duration;
use testing::Database;

const SENDER: &str = "+15550100";

/// A pace with a daily limit, whose rate never matters.
fn per_day(limit: &str) -> SendPace {
    let limits = SenderLimits {
        segments_per_second: "100000".parse().unwrap(),
        segments_per_day: limit.parse().unwrap(),
        ..SenderLimits::default()
    };
    SendPace { limits, burst: 100_000, ..SendPace::default() }
}

async fn stored(db: &Db, send: NewSend) -> MessageId {
    sends::create(db, &send, None).await.unwrap();
    send.id
}

async fn claim(db: &Db, pace: &SendPace, at: Timestamp) -> Claims {
    let wake_up = senders::WakeUp { sender: SENDER.into(), due_at: at };
    let request = ClaimRequest { wake_ups: vec![wake_up], ..ClaimRequest::default() };
    sends::claim(db, &request, pace, at).await.unwrap()
}

/// Returns the texts of the claimed messages.
fn texts(claims: &Claims) -> Vec<&str> {
    claims.claimed.iter().map(|claimed| claimed.message_content.as_str()).collect()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn text(priority: Priority, text: &str) -> NewSend {
    NewSend { priority, message_content: text.to_owned(), ..new_send("+18605550100") }
}

#[tokio::test]
async fn mms_are_claimed_at_their_own_rate_beside_sms() {
    let database = Database::create().await;
    let db = database.db();
    for _ in 0..6 {
        let media = json!([{"url": "https://example.com/a.png"}]);
        let created_at = now() - 1.minute();
        stored(&db, NewSend { media, segments: 2, created_at, ..text(Priority::Normal, "mms") }).await;
    }
    for _ in 0..4 {
        stored(&db, text(Priority::Normal, "sms")).await;
    }
    let pace = SendPace::default();
    // A long code sends one MMS a second, three after a pause. The SMS behind them do not wait.
    let first = claim(&db, &pace, now()).await;
    assert_eq!(texts(&first), ["mms", "mms", "mms", "sms", "sms", "sms", "sms"]);
    assert_eq!(first.wake_ups[0].1, Duration::from_secs(1));
    assert!(claim(&db, &pace, now() + 900.milliseconds()).await.claimed.is_empty());
    assert_eq!(texts(&claim(&db, &pace, now() + 1.second()).await), ["mms"]);
    assert_eq!(texts(&claim(&db, &pace, now() + 3.seconds()).await), ["mms", "mms"]);
    let counters =
        "select day_sent || ' ' || extract(epoch from mms_ready_at - '2026-11-01T12:00:00Z')::int || ' '
        || extract(epoch from ready_at - '2026-11-01T12:00:00Z')::int from sms_senders";
    assert_eq!(database.scalar(counters).await, "10 6 3", "each MMS is one segment of the day");
}

#[tokio::test]
async fn messages_beyond_the_daily_limit_wait_until_midnight_in_pacific_time() {
    // The days on which clocks change have 25 and 23 hours.
    for (begin, before, midnight) in [
        ("2026-11-01T12:00:00Z", "2026-11-02T07:59:59.999Z", "2026-11-02T08:00:00Z"),
        ("2026-03-08T09:00:00Z", "2026-03-09T06:59:59.999Z", "2026-03-09T07:00:00Z"),
    ] {
        let database = Database::create().await;
        let (db, pace) = (database.db(), per_day("3"));
        let mut last = None;
        for _ in 0..5 {
            let send = NewSend { created_at: at(begin), ..text(Priority::Normal, "rent") };
            last = Some(stored(&db, send).await);
        }
        let first = claim(&db, &pace, at(begin)).await;
        assert_eq!(first.claimed.len(), 3);
        assert_eq!(first.filled, [(Sender::from(SENDER), at(midnight))]);
        assert!(first.wake_ups.is_empty(), "a sweep wakes the sender");
        let again = claim(&db, &pace, at(before)).await;
        assert_eq!((again.claimed.len(), again.filled.len()), (0, 0), "the limit is reported once");
        let details = messages::find(&db, last.unwrap()).await.unwrap().unwrap();
        assert_eq!(details.next_attempt_at, Some(at(midnight)));

        let next = claim(&db, &pace, at(midnight)).await;
        assert_eq!(next.claimed.len(), 2);
        let day = "select day_sent || ' ' || (day_full_until is null) from sms_senders";
        assert_eq!(database.scalar(day).await, "2 true");
    }
}

#[tokio::test]
async fn a_sender_with_a_full_day_is_woken_at_its_end() {
    let database = Database::create().await;
    let (db, pace) = (database.db(), per_day("1"));
    for _ in 0..2 {
        stored(&db, text(Priority::Normal, "rent")).await;
    }
    claim(&db, &pace, now()).await;
    assert!(senders::wake(&db, now() + 1.hour()).await.unwrap().is_empty());
    let woken = senders::wake(&db, at("2026-11-02T07:59:20Z")).await.unwrap();
    assert_eq!(woken.len(), 1);
    assert_eq!((woken[0].0.due_at, woken[0].1), (at("2026-11-02T08:00:00Z"), Duration::from_secs(40)));
}

#[tokio::test]
async fn urgent_messages_go_first_on_the_next_day_and_a_message_expires_in_time() {
    let database = Database::create().await;
    let (db, pace) = (database.db(), per_day("2"));
    for (seconds, name) in [(3, "first"), (2, "second"), (1, "third")] {
        stored(&db, NewSend { created_at: now() - seconds.seconds(), ..text(Priority::Bulk, name) }).await;
    }
    let late = NewSend { send_before: Some(now() + 2.hours()), ..text(Priority::Bulk, "late") };
    let late = stored(&db, late).await;
    assert_eq!(texts(&claim(&db, &pace, now()).await), ["first", "second"]);
    stored(&db, text(Priority::Urgent, "leak")).await;
    assert_eq!(texts(&claim(&db, &pace, now() + 1.hour()).await), [] as [&str; 0]);
    assert_eq!(sends::expire(&db, now() + 3.hours(), pace.max_age, 10).await.unwrap(), [late]);
    assert_eq!(texts(&claim(&db, &pace, at("2026-11-02T08:00:00Z")).await), ["leak", "third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_claims_never_exceed_the_daily_limit() {
    let database = Database::create().await;
    let db = database.db();
    for _ in 0..60 {
        stored(&db, NewSend { segments: 2, ..text(Priority::Normal, "rent") }).await;
    }
    let runs = (0..8).map(|_| {
        let db = database.db();
        tokio::spawn(async move {
            let mut claimed = 0;
            loop {
                match claim(&db, &per_day("51"), now()).await.claimed.len() {
                    0 => return claimed,
                    number => claimed += number,
                }
            }
        })
    });
    let mut claimed = 0;
    for run in runs.collect::<Vec<_>>() {
        claimed += run.await.unwrap();
    }
    assert_eq!(claimed, 25, "the 51st segment is left, because the next message has two");
    assert_eq!(database.scalar("select day_sent from sms_senders").await, "50");
}

#[tokio::test]
async fn a_message_whose_function_died_after_the_claim_stays_counted() {
    let database = Database::create().await;
    let (db, pace) = (database.db(), per_day("2"));
    for _ in 0..3 {
        stored(&db, text(Priority::Normal, "rent")).await;
    }
    assert_eq!(claim(&db, &pace, now()).await.claimed.len(), 2);
    let abandoned = "update sms_messages set claimed_at = null where claimed_at is not null";
    database.client.batch_execute(abandoned).await.unwrap();
    assert_eq!(claim(&db, &pace, now() + 1.hour()).await.claimed.len(), 0, "both calls may have been made");
}

#[tokio::test]
async fn a_higher_limit_ends_the_wait() {
    let database = Database::create().await;
    let db = database.db();
    for _ in 0..3 {
        stored(&db, text(Priority::Normal, "rent")).await;
    }
    assert_eq!(claim(&db, &per_day("1"), now()).await.claimed.len(), 1);
    assert_eq!(claim(&db, &per_day("2"), now()).await.claimed.len(), 1);
    assert_eq!(claim(&db, &per_day("9"), now()).await.claimed.len(), 1);
    assert_eq!(database.scalar("select day_full_until is null from sms_senders").await, "t");
}
