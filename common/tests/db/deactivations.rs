//! Which numbers are marked as deactivated, and what clears the mark.

use crate::sends::new_send;
use crate::{inbound, now};
use common::clock::new_id;
use common::db::consent::{self, Consent};
use common::db::conversations;
use common::db::deactivations::{self, ListRead};
use common::db::inbound::{OptOutChange, store};
use common::db::{Db, sends};
use common::domain::opt_out::{ConsentScope, OptOutAction, OptOutSource};
use common::domain::phone::E164;
use common::domain::sids::AccountSid;
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use testing::Database;

const HANDSET: &str = "+18605550100";

/// The day of the list. The tests' current time is noon of the next day.
const DAY: Date = date(2026, 10, 31);

fn account() -> AccountSid {
    "AC1".parse().unwrap()
}

/// Creates a conversation without an inbound message.
async fn conversation(db: &Db, number: &str) {
    sends::create(db, &new_send(number), None).await.unwrap();
}

async fn mark(db: &Db, day: Date, numbers: &[&str]) -> i64 {
    let numbers: Vec<E164> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    deactivations::mark(db, &account(), day, &numbers, now()).await.unwrap()
}

/// Stores an inbound message of the handset.
async fn receive(db: &Db, sid: &str, at: Timestamp) {
    let mut message = inbound(sid, HANDSET);
    message.received_at = at;
    store(db, &[message]).await.unwrap();
}

/// Records consent through the API.
async fn consent(db: &Db, action: OptOutAction, evidence: &str, at: Timestamp) {
    let consent = Consent {
        action,
        scope: ConsentScope::All,
        source: "paper".to_owned(),
        evidence: evidence.to_owned(),
        api_key_id: new_id(),
    };
    let variants = [HANDSET.to_owned()];
    consent::record(db, &account(), &variants, None, &consent, at).await.unwrap().unwrap();
}

/// Returns the marked numbers, each with the time of its mark.
async fn marked(database: &Database) -> String {
    let sql = "select coalesce(string_agg(concat_ws(' ', phone_number_canonical, deactivated_at at time zone 'UTC'),
            ', ' order by phone_number_canonical), '')
        from sms_conversations where deactivated_at is not null";
    database.scalar(sql).await
}

async fn is_marked(database: &Database) -> bool {
    !marked(database).await.is_empty()
}

/// The first moment after the day of the list.
fn day_after() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn only_numbers_with_a_conversation_of_the_account_are_marked() {
    let database = Database::create().await;
    let db = database.db();
    for number in [HANDSET, "+18605550101", "+18605550102"] {
        conversation(&db, number).await;
    }
    let other =
        "update sms_conversations set account_sid = 'AC2' where phone_number_canonical = '+18605550102'";
    database.client.batch_execute(other).await.unwrap();
    let numbers = ["+18605550199", "+18605550102", HANDSET, "+18605550101", HANDSET];
    assert_eq!(mark(&db, DAY, &numbers).await, 2);
    let expected = "+18605550100 2026-10-31 00:00:00, +18605550101 2026-10-31 00:00:00";
    assert_eq!(marked(&database).await, expected);
    // A mark keeps its day.
    assert_eq!(mark(&db, date(2026, 11, 1), &numbers).await, 0);
    assert_eq!(mark(&db, DAY, &[]).await, 0);
    assert_eq!(marked(&database).await, expected);
    let events = "select count(*) || ' ' || count(distinct conversation_id) from sms_events_pending";
    assert_eq!(database.scalar(events).await, "2 2");
}

#[tokio::test]
async fn the_day_is_that_of_utc_whatever_the_time_zone_of_the_session() {
    let database = Database::create().await;
    conversation(&database.db(), HANDSET).await;
    // With a change of the clock on the day after.
    database.client.batch_execute("set timezone = 'America/New_York'").await.unwrap();
    let call = format!(
        "select sms_deactivate_numbers('AC1', array['{HANDSET}'], '2026-10-31', 'contact.number_deactivated', '{{}}',
             now())"
    );
    assert_eq!(database.scalar(&call).await, "1");
    assert_eq!(marked(&database).await, format!("{HANDSET} 2026-10-31 00:00:00"));
}

#[tokio::test]
async fn a_number_that_wrote_or_was_opted_in_after_the_day_stays_active() {
    let moment = SignedDuration::from_micros(1);
    for (at, expected) in [(day_after() - moment, 1), (day_after(), 0), (now(), 0)] {
        let database = Database::create().await;
        let db = database.db();
        receive(&db, "SM1", at).await;
        assert_eq!(mark(&db, DAY, &[HANDSET]).await, expected, "a message at {at}");

        let database = Database::create().await;
        let db = database.db();
        conversation(&db, HANDSET).await;
        consent(&db, OptOutAction::OptIn, "1", at).await;
        assert_eq!(mark(&db, DAY, &[HANDSET]).await, expected, "an opt-in at {at}");
    }
    // Our own messages and opt-outs prove nothing.
    let database = Database::create().await;
    let db = database.db();
    conversation(&db, HANDSET).await;
    consent(&db, OptOutAction::OptOut, "1", now()).await;
    assert_eq!(mark(&db, DAY, &[HANDSET]).await, 1);
}

#[tokio::test]
async fn an_inbound_message_after_the_day_clears_the_mark() {
    let database = Database::create().await;
    let db = database.db();
    conversation(&db, HANDSET).await;
    mark(&db, DAY, &[HANDSET]).await;
    // Our own message, and one that was sent before and is stored late.
    conversation(&db, HANDSET).await;
    receive(&db, "SM1", day_after() - 1.second()).await;
    assert!(is_marked(&database).await);
    receive(&db, "SM2", now()).await;
    assert!(!is_marked(&database).await);
    // A later list marks it again, with another event.
    receive(&db, "SM3", now()).await;
    assert_eq!(mark(&db, DAY, &[HANDSET]).await, 0);
    assert_eq!(mark(&db, date(2026, 11, 1), &[HANDSET]).await, 1);
    let events = "select count(*) from sms_events_pending where event_type = 'contact.number_deactivated'";
    assert_eq!(database.scalar(events).await, "2");
}

#[tokio::test]
async fn an_opt_in_after_the_day_clears_the_mark_and_an_opt_out_does_not() {
    let database = Database::create().await;
    let db = database.db();
    conversation(&db, HANDSET).await;
    mark(&db, DAY, &[HANDSET]).await;
    consent(&db, OptOutAction::OptIn, "1", day_after() - 1.second()).await;
    consent(&db, OptOutAction::OptOut, "2", now()).await;
    assert!(is_marked(&database).await);
    consent(&db, OptOutAction::OptIn, "3", now()).await;
    assert!(!is_marked(&database).await);
    let opted_out = "select opted_out_at is null from sms_conversations";
    assert_eq!(database.scalar(opted_out).await, "t");

    // A keyword is an inbound message too.
    mark(&db, date(2026, 11, 1), &[HANDSET]).await;
    assert!(is_marked(&database).await);
    let mut start = inbound("SM1", HANDSET);
    start.received_at = now() + 24.hours();
    start.opt_out = Some(OptOutChange {
        action: OptOutAction::OptIn,
        source: OptOutSource::Keyword,
        words: Some("START".to_owned()),
    });
    store(&db, &[start]).await.unwrap();
    assert!(!is_marked(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_mark_a_number_once() {
    let database = Database::create().await;
    let numbers: Vec<String> = (0..50).map(|n| format!("+186055501{n:02}")).collect();
    for number in &numbers {
        conversation(&database.db(), number).await;
    }
    let runs = (0..4).map(|run| {
        let (db, mut numbers) = (database.db(), numbers.clone());
        numbers.rotate_left(run * 10);
        tokio::spawn(async move {
            let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
            mark(&db, DAY, &numbers).await
        })
    });
    let mut marked = 0;
    for run in runs.collect::<Vec<_>>() {
        marked += run.await.unwrap();
    }
    assert_eq!(marked, 50);
    assert_eq!(database.scalar("select count(*) from sms_events_pending").await, "50");
}

#[tokio::test]
async fn a_recipient_is_deactivated_unless_an_opt_out_is_the_reason_for_a_refusal() {
    let database = Database::create().await;
    let db = database.db();
    let number: E164 = HANDSET.parse().unwrap();
    let is_deactivated = async || {
        let found = conversations::recipient(&db, &account(), &number).await.unwrap();
        found.map(|(refused, last)| (refused.is_deactivated, last.our_number))
    };
    assert_eq!(is_deactivated().await, None);
    conversation(&db, HANDSET).await;
    let ours = || Some("+15550100".to_owned());
    assert_eq!(is_deactivated().await, Some((false, ours())));
    mark(&db, DAY, &[HANDSET]).await;
    assert_eq!(is_deactivated().await, Some((true, ours())));
    database.client.batch_execute("update sms_conversations set opted_out_at = now()").await.unwrap();
    assert_eq!(is_deactivated().await, Some((false, ours())));
    let empty = "delete from sms_messages; update sms_conversations set opted_out_at = null";
    database.client.batch_execute(empty).await.unwrap();
    assert_eq!(is_deactivated().await, Some((true, None)));
}

#[tokio::test]
async fn a_day_is_remembered_once_its_list_was_read() {
    let database = Database::create().await;
    let db = database.db();
    assert_eq!(deactivations::read_days(&db, DAY).await.unwrap(), []);
    for (day, numbers) in [(DAY, 3), (date(2026, 10, 30), 1), (DAY, 9)] {
        deactivations::finish(&db, day, ListRead { numbers, marked: 1 }, now()).await.unwrap();
    }
    assert_eq!(deactivations::read_days(&db, DAY).await.unwrap(), [DAY]);
    let kept = "select string_agg(numbers::text, ' ' order by day) from sms_deactivation_days";
    assert_eq!(database.scalar(kept).await, "1 3");
}
