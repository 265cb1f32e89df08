//! What counts for the limits of API keys and recipients, also for requests that race.

use crate::sends::new_send;
use crate::{inbound, now};
use common::clock::new_id;
use common::db::batches::{self, KnownRecipient};
use common::db::rate_limits::{self, Count, Requested};
use common::db::sends::{self, Created, Idempotency, NewSend};
use common::db::{Db, maintenance};
use common::domain::message::{Priority, Purpose};
use common::domain::phone::E164;
use common::domain::rate_limit::{KeyWindow, Limit, Minute, Quota};
use common::domain::sids::AccountSid;
use jiff::{Timestamp, ToSpan};
use testing::Database;
use uuid::Uuid;

const NUMBER: &str = "+18605550100";

fn account() -> AccountSid {
    "AC1".parse().unwrap()
}

/// A request for one message of a key with this limit, without a recipient.
fn requested(account: &AccountSid, key_limit: u32) -> Requested<'_> {
    Requested {
        api_key_id: Uuid::nil(),
        key_limit: Some(key_limit),
        messages: 1,
        account_sid: account,
        recipient: None,
        recipient_limit: None,
        workflow_type: None,
        purpose: Purpose::Service,
        idempotency_key: None,
        at: now(),
    }
}

/// Returns what is left of the limit of a key, or `None` for a refusal.
fn left(count: Count) -> Option<u64> {
    match count {
        Count::Allowed(Some(quota)) => Some(quota.remaining),
        Count::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

async fn used(database: &Database) -> String {
    database.scalar("select coalesce(sum(used), 0) from sms_key_usage").await
}

#[tokio::test]
async fn the_shards_of_two_minutes_are_added_up() {
    let database = Database::create().await;
    let (db, account) = (database.db(), account());
    let count = async |messages: i32, at: Timestamp| {
        let requested = Requested { messages, at, ..requested(&account, 100) };
        left(rate_limits::count(&db, &requested).await.unwrap())
    };
    for step in 1..=20 {
        assert_eq!(count(2, now()).await, Some(100 - step * 2));
    }
    assert_eq!(count(61, now() + 59.seconds()).await, None);
    assert_eq!(count(60, now() + 59.seconds()).await, Some(0));
    let rows = "select count(*) > 1 and max(shard) < 16 and min(minute) = max(minute) from sms_key_usage";
    assert_eq!(database.scalar(rows).await, "t");
    // Half of the minute has left the window, then all of it.
    assert_eq!(count(51, now() + 90.seconds()).await, None);
    assert_eq!(count(50, now() + 90.seconds()).await, Some(0));
    assert_eq!(count(1, now() + 119.seconds()).await, Some(47));
    assert_eq!(count(1, now() + 180.seconds()).await, Some(99));
    assert_eq!(used(&database).await, "152");
}

#[tokio::test]
async fn the_statement_decides_as_the_rule_does() {
    let database = Database::create().await;
    let (db, account) = (database.db(), account());
    let states: [(i32, i32); 8] = [(0, 0), (9, 0), (10, 0), (0, 9), (0, 10), (7, 5), (20, 3), (5, 12)];
    for (last_minute, this_minute) in states {
        for second in [0_i64, 1, 5, 6, 7, 12, 24, 30, 36, 42, 54, 59] {
            for messages in [1_i32, 2, 10] {
                let key = new_id();
                let (at, minute) = (now() + second.seconds(), Minute::of(now()));
                for (start, used) in [(minute.last_start(), last_minute), (minute.start, this_minute)] {
                    let sql =
                        "insert into sms_key_usage values ($1, $2, 3, $3 / 2), ($1, $2, 4, $3 - $3 / 2)";
                    database.client.execute(sql, &[&key, &start, &used]).await.unwrap();
                }
                let requested = Requested { api_key_id: key, messages, at, ..requested(&account, 10) };
                let decided = rate_limits::count(&db, &requested).await.unwrap();
                let window = KeyWindow {
                    limit: 10,
                    last_minute: i64::from(last_minute),
                    this_minute: i64::from(this_minute),
                    left_ms: Minute::of(at).left_ms,
                };
                let expected = if window.allows(i64::from(messages)) {
                    let this_minute = window.this_minute + i64::from(messages);
                    Count::Allowed(Some(KeyWindow { this_minute, ..window }.quota()))
                } else {
                    Count::Refused(window.refusal(i64::from(messages)))
                };
                assert_eq!(decided, expected, "{window:?} {messages}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_race_exceed_the_limit_at_most_by_their_number() {
    const TASKS: usize = 8;
    let database = Database::create().await;
    let runs = (0..TASKS).map(|_| {
        let db = database.db();
        tokio::spawn(async move {
            let account = account();
            let mut allowed = 0;
            for _ in 0..25 {
                let count = rate_limits::count(&db, &requested(&account, 50)).await.unwrap();
                allowed += usize::from(left(count).is_some());
            }
            allowed
        })
    });
    let mut allowed = 0;
    for run in runs.collect::<Vec<_>>() {
        allowed += run.await.unwrap();
    }
    assert!((50..50 + TASKS).contains(&allowed), "{allowed}");
    assert_eq!(used(&database).await, allowed.to_string());
}

/// Stores a message and returns it.
async fn stored(db: &Db, send: NewSend) -> NewSend {
    assert!(matches!(sends::create(db, &send, None).await.unwrap(), Created::Stored { .. }));
    send
}

/// Stores two messages to a number in the last 24 hours, and others that do not count.
async fn with_messages(database: &Database) -> Db {
    let db = database.db();
    let at = |hours: i64| NewSend { created_at: now() - hours.hours(), ..new_send(NUMBER) };
    stored(&db, at(30)).await;
    stored(&db, at(24)).await;
    stored(&db, at(23)).await;
    stored(&db, NewSend { priority: Priority::Urgent, purpose: Purpose::Emergency, ..at(1) }).await;
    stored(&db, NewSend { created_at: now(), ..new_send("+18605550101") }).await;
    common::db::inbound::store(&db, &[inbound("SM1", NUMBER)]).await.unwrap();
    let reply = "insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content, \
            delivery_status, in_reply_to, created_at) \
        select sms_new_id(), conversation_id, 'outbound', to_number, from_number, 'x', 'queued', id, created_at \
        from sms_messages where direction = 'inbound'";
    database.client.batch_execute(reply).await.unwrap();
    db
}

#[tokio::test]
async fn requested_messages_of_24_hours_count_for_their_recipient() {
    let database = Database::create().await;
    let db = with_messages(&database).await;
    let (account, number) = (account(), NUMBER.parse::<E164>().unwrap());
    let count = async |key_limit: Option<u32>, recipient_limit: u32, number: &E164| {
        let requested = Requested {
            key_limit,
            recipient: Some(number),
            recipient_limit: Some(recipient_limit),
            ..requested(&account, 0)
        };
        rate_limits::count(&db, &requested).await.unwrap()
    };
    assert_eq!(count(None, 3, &number).await, Count::Allowed(None));
    // The oldest of the newest two leaves the window in an hour, the newest one in 23 hours.
    for (limit, hours) in [(2, 1), (1, 23)] {
        let quota = Quota { limit: Limit::Recipient(limit), remaining: 0, reset_seconds: hours * 3600 };
        assert_eq!(count(None, limit, &number).await, Count::Refused(quota));
        assert_eq!(count(Some(100), limit, &number).await, Count::Refused(quota));
    }
    assert_eq!(used(&database).await, "0");
    let unknown = "+18605550199".parse().unwrap();
    assert_eq!(count(None, 1, &unknown).await, Count::Allowed(None));
    assert_eq!(left(count(Some(100), 3, &number).await), Some(99));

    let recent = async |limit: Option<u32>| {
        let numbers = [(&number, false)];
        let found = batches::recipients(&db, &account, &numbers, limit, now()).await.unwrap();
        found.iter().map(|known: &KnownRecipient| known.recent_messages).collect::<Vec<_>>()
    };
    assert_eq!(recent(Some(100)).await, [2]);
    assert_eq!(recent(Some(1)).await, [1], "no more than needed are read");
    assert_eq!(recent(None).await, [0]);
}

#[tokio::test]
async fn repeated_requests_and_recipients_who_opted_out_are_not_counted() {
    let database = Database::create().await;
    let (db, account) = (database.db(), account());
    let first = NewSend { created_at: now(), ..new_send(NUMBER) };
    let key = Idempotency { key: "k".to_owned(), payload_hash: vec![1] };
    sends::create(&db, &first, Some(&key)).await.unwrap();
    let repeated = Requested {
        recipient: Some(&first.to),
        recipient_limit: Some(1),
        idempotency_key: Some("k"),
        ..requested(&account, 1)
    };
    let count = async |requested: Requested<'_>| rate_limits::count(&db, &requested).await.unwrap();
    assert_eq!(count(repeated).await, Count::NotCounted);
    // The key is forgotten after a day, and belongs to one API key.
    let tomorrow = Requested { at: now() + 25.hours(), ..repeated };
    assert_eq!(left(count(tomorrow).await), Some(0));
    assert!(matches!(count(Requested { api_key_id: new_id(), ..repeated }).await, Count::Refused(_)));
    assert_eq!(used(&database).await, "1");

    database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    assert_eq!(count(Requested { idempotency_key: None, ..repeated }).await, Count::NotCounted);
    assert_eq!(used(&database).await, "1");

    let scoped = "update sms_conversations set opted_out_at = null, opted_out_scopes = '{workflow:leasing}'";
    database.client.batch_execute(scoped).await.unwrap();
    let other = Requested { idempotency_key: None, ..repeated };
    assert!(matches!(count(other).await, Count::Refused(_)));
    assert_eq!(count(Requested { workflow_type: Some("leasing"), ..other }).await, Count::NotCounted);
}

#[tokio::test]
async fn counts_of_past_minutes_are_deleted() {
    let database = Database::create().await;
    let (db, account) = (database.db(), account());
    for minutes in [0_i64, 1, 9, 11, 60, 10_000] {
        let requested = Requested { at: now() - minutes.minutes(), ..requested(&account, 1) };
        rate_limits::count(&db, &requested).await.unwrap();
    }
    maintenance::forget_key_usage(&db, now(), 2).await.unwrap();
    assert_eq!(used(&database).await, "4", "at most two are deleted");
    maintenance::forget_key_usage(&db, now(), 100).await.unwrap();
    assert_eq!(used(&database).await, "3");
}
