use crate::sends::{claimed, new_send};
use crate::statuses::{callback, record};
use crate::{inbound, now};
use common::clock;
use common::db::conversations::{self, PageStart};
use common::db::partitions::{self, Partition, TABLES};
use common::db::sends::{self, SendResult};
use common::db::{Db, LockWaits, inbound as db_inbound, messages, statuses};
use common::domain::message::Status;
use common::domain::sids::MessageSid;
use common::twilio::RenewalPolicy;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;
use testing::Database;

/// Short waits, so that a test with locks ends soon.
const WAITS: LockWaits = LockWaits {
    lock_timeout: Duration::from_millis(100),
    pause: Duration::from_millis(50),
    retry_for: Duration::from_secs(60),
};

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

async fn named(db: &Db, name: &str) -> Partition {
    let all = partitions::list(db).await.unwrap();
    all.into_iter()
        .find(|partition| partition.name == name)
        .unwrap_or_else(|| panic!("{name} does not exist"))
}

/// Adds months to the past, until each table has 24.
async fn with_24_months(database: &Database) {
    for table in TABLES {
        let add = format!(
            "select sms_add_partition('{table}', (date_trunc('month', now() at time zone 'UTC')
                 - make_interval(months => n))::date) from generate_series(2, 20) n"
        );
        database.client.batch_execute(&add).await.unwrap();
    }
    let listed = partitions::list(&database.db()).await.unwrap();
    assert_eq!(listed.len(), TABLES.len() * 25, "24 months and the default partition");
}

#[tokio::test]
async fn sids_of_twilios_form_take_17_bytes_and_any_other_text_is_kept() {
    let database = Database::create().await;
    let digits = "0123456789abcdef".repeat(2);
    for (sid, bytes) in [
        (format!("SM{digits}"), "17"),
        (format!("MM{digits}"), "17"),
        (format!("SM{}", digits.to_uppercase()), "35"),
        (format!("XX{digits}"), "35"),
        ("SM1".to_owned(), "4"),
        (r"SM\x41ä".to_owned(), "9"),
        (String::new(), "1"),
    ] {
        let packed = format!("select octet_length(sms_pack_sid('{sid}'))");
        assert_eq!(database.scalar(&packed).await, bytes, "{sid}");
        let unpacked = format!("select sms_unpack_sid(sms_pack_sid('{sid}'))");
        assert_eq!(database.scalar(&unpacked).await, sid);
    }
    assert_eq!(database.scalar("select coalesce(sms_pack_sid(null), 'null')").await, r"\x6e756c6c");
}

#[tokio::test]
async fn new_ids_in_sql_are_ordered_uuids_of_version_7() {
    let database = Database::create().await;
    let ids: Vec<uuid::Uuid> = (0..3).map(|_| clock::new_id()).collect();
    let id: uuid::Uuid = database.scalar("select sms_new_id()").await.parse().unwrap();
    assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    assert!(ids.iter().all(|earlier| *earlier <= id), "{ids:?} {id}");
    let first: uuid::Uuid =
        database.scalar("select sms_first_id('2026-11-01T00:00:00Z')").await.parse().unwrap();
    let milliseconds = at("2026-11-01T00:00:00Z").as_millisecond();
    assert_eq!(i64::try_from(first.as_u128() >> 80), Ok(milliseconds));
}

#[tokio::test]
async fn a_migrated_database_has_partitions_for_the_previous_month_and_three_more() {
    let database = Database::create().await;
    let db = database.db();
    assert_eq!(partitions::ready(&db, clock::now()).await.unwrap(), 3);
    assert!(partitions::missing(&db, clock::now()).await.unwrap().is_empty());
    let in_three_months = at("2026-11-27T00:00:00Z").max(clock::now()) + (24 * 100).hours();
    assert_eq!(partitions::missing(&db, in_three_months).await.unwrap(), TABLES);
    assert_eq!(partitions::ready(&db, in_three_months).await.unwrap(), 0);

    let created = partitions::ensure(&db, in_three_months, 3, WAITS).await.unwrap();
    assert!(!created.is_empty());
    assert_eq!(partitions::ready(&db, in_three_months).await.unwrap(), 3);
    assert!(partitions::ensure(&db, in_three_months, 3, WAITS).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_create_each_partition_once() {
    let database = Database::create().await;
    let later = at("2031-05-05T00:00:00Z");
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let db = database.db();
            tokio::spawn(async move { partitions::ensure(&db, later, 3, WAITS).await.unwrap() })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    assert_eq!(partitions::ready(&database.db(), later).await.unwrap(), 3);
}

#[tokio::test]
async fn a_row_of_a_wrong_clock_is_stored_and_moves_when_its_month_gets_a_partition() {
    let database = Database::create().await;
    let db = database.db();
    for (sid, time) in [("SM1", "2031-05-05T00:00:00Z"), ("SM2", "1999-12-31T23:59:59Z")] {
        let id = database.scalar(&format!("select sms_first_id('{time}')")).await;
        let message = db_inbound::NewInbound {
            id: id.parse::<uuid::Uuid>().unwrap().into(),
            ..inbound(sid, "+18605550101")
        };
        assert_eq!(db_inbound::store(&db, &[message]).await.unwrap().len(), 1);
    }
    let partition =
        "select string_agg(tableoid::regclass::text, ' ' order by message_id) from sms_message_payloads";
    let in_default = "sms_message_payloads_default";
    assert_eq!(database.scalar(partition).await, format!("{in_default} {in_default}"));
    assert_eq!(partitions::rows_in_default(&db).await.unwrap(), 2);

    partitions::ensure(&db, at("2031-04-20T00:00:00Z"), 3, WAITS).await.unwrap();

    assert_eq!(database.scalar(partition).await, format!("{in_default} sms_message_payloads_2031_05"));
    assert_eq!(partitions::rows_in_default(&db).await.unwrap(), 1);
    let raw = "select raw_webhook_data->>'MessageSid' from sms_message_payloads_2031_05";
    assert_eq!(database.scalar(raw).await, "SM1");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_while_partitions_are_created_and_dropped_under_writes() {
    let database = Database::create().await;
    let db = database.db();
    let (old, future) = ("2025-01-31T23:59:59Z", "2031-01-31T23:59:59Z");
    database.client.batch_execute("select sms_add_partition('sms_events', '2025-01-01')").await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let url = database.url();
            tokio::spawn(async move {
                let client = testing::connect(&url).await;
                for n in 0..200 {
                    let month = if n % 2 == 0 { future } else { "2031-02-01T00:00:00Z" };
                    let insert = format!(
                        "insert into sms_events (id, event_type, position, body, created_at)
                         select encode(overlay(uuid_send(sms_first_id('{month}'))
                                    placing int8send({writer} * 1000 + {n}) from 9), 'hex')::uuid,
                             'message.status', {writer} * 1000 + {n}, '{{}}', now()"
                    );
                    client.batch_execute(&insert).await.unwrap();
                }
            })
        })
        .collect();
    let oldest = named(&db, "sms_events_2025_01").await;
    assert_eq!(oldest.month().unwrap().to_string(), "2025-01-01");
    assert!(oldest.bytes > 0);
    partitions::ensure(&db, at("2031-01-15T00:00:00Z"), 1, WAITS).await.unwrap();
    partitions::drop(&db, &oldest, WAITS).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(database.scalar("select count(*) from sms_events").await, "800");
    assert_eq!(database.scalar("select count(*) from sms_events_default").await, "0");
    assert_eq!(database.scalar("select count(*) from sms_events_2031_01").await, "400");
    let gone = format!("select count(*) from sms_events where id < sms_first_id('{old}')");
    assert_eq!(database.scalar(&gone).await, "0");
    assert!(partitions::list(&db).await.unwrap().iter().all(|partition| partition.name != oldest.name));
}

#[tokio::test]
async fn a_busy_table_delays_a_new_partition_and_not_the_writers() {
    let database = Database::create().await;
    let db = database.db();
    database
        .client
        .batch_execute(
            "begin; insert into sms_events_default (id, event_type, position, body, created_at)
         values (sms_first_id('2031-06-01T00:00:00Z'), 'message.status', 1, '{}', now())",
        )
        .await
        .unwrap();
    let waits = LockWaits { retry_for: Duration::from_millis(300), ..WAITS };
    let blocked = partitions::ensure(&db, at("2031-06-15T00:00:00Z"), 0, waits).await;
    assert!(blocked.unwrap_err().is_lock_timeout());
    database.client.batch_execute("commit").await.unwrap();
    partitions::ensure(&db, at("2031-06-15T00:00:00Z"), 0, waits).await.unwrap();
    assert_eq!(database.scalar("select count(*) from sms_events_2031_06").await, "1");
}

/// All other partitions are locked exclusively. A statement that planned or opened one of them would time out. Ten
/// rounds, because Postgres changes from custom to generic plans after five.
#[tokio::test]
async fn with_24_months_each_statement_opens_only_the_partitions_of_this_month() {
    let database = Database::create().await;
    with_24_months(&database).await;
    let db = database.db();
    let month = database.scalar("select to_char(now() at time zone 'UTC', 'YYYY_MM')").await;
    let others: Vec<_> = partitions::list(&db)
        .await
        .unwrap()
        .into_iter()
        .map(|partition| partition.name)
        .filter(|name| !name.ends_with(&month))
        .collect();
    assert_eq!(others.len(), TABLES.len() * 24);
    let blocker = testing::connect(&database.url()).await;
    let lock = format!("begin; lock table {} in access exclusive mode", others.join(", "));
    blocker.batch_execute(&lock).await.unwrap();

    let policy = RenewalPolicy::default();
    for round in 0..10 {
        let (sid, early) = (format!("SM{round}"), format!("SM9{round}"));
        let early_sid: MessageSid = early.parse().unwrap();
        let tenant = format!("+1860555{round:04}");
        let stored = db_inbound::store(&db, &[inbound(&sid, &tenant)]).await.unwrap();
        assert_eq!(db_inbound::store(&db, &[inbound(&sid, &tenant)]).await.unwrap().len(), 0);

        let claim = claimed(&db, new_send(&tenant)).await;
        let (passed, held) = sends::pass_gate(&db, &[&claim], now()).await.unwrap();
        assert_eq!(passed.len(), 1);
        held.release().await;
        record(&db, &[callback(&early, "delivered", None)], now()).await.unwrap();
        let outcome = SendResult::Accepted { twilio_sid: early_sid.clone(), status: Status::Queued };
        let finished = sends::finish(&db, &[(&claim, &outcome)], now()).await.unwrap();
        assert_eq!(finished.early, std::slice::from_ref(&early_sid));
        assert_eq!(statuses::join_orphans(&db, Some(&early_sid), &policy, now()).await.unwrap(), 1);
        assert_eq!(statuses::join_orphans(&db, None, &policy, now()).await.unwrap(), 0);
        record(&db, &[callback(&early, "read", None)], now()).await.unwrap();
        sends::park(&db, &[claim.message_id], now()).await.unwrap();

        let sent = messages::find(&db, claim.message_id).await.unwrap().unwrap();
        assert_eq!(sent.history.as_array().map(Vec::len), Some(2), "{}", sent.history);
        let page = conversations::page(&db, &"AC1".parse().unwrap(), &[tenant], PageStart::Offset(0), 20)
            .await
            .unwrap();
        assert_eq!(page.unwrap().1.len(), 2);
        let (own, unknown) = (sid.parse().unwrap(), "SM0x".parse().unwrap());
        assert_eq!(sends::claimed_sids(&db, &[&own, &early_sid, &unknown]).await.unwrap().len(), 2);
        assert_eq!(stored.len(), 1);
    }
    blocker.batch_execute("rollback").await.unwrap();
    assert_eq!(database.scalar("select count(*) from sms_message_payloads").await, "10");
    let joined =
        "select count(*) from sms_message_status_events e join sms_messages m on m.id = e.message_id";
    assert_eq!(database.scalar(joined).await, "20");
}
