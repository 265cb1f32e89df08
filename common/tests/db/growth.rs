//! Statements must not read more rows because there are more rows.

use crate::now;
use crate::sends::{claimed, new_send};
use common::db::senders::WakeUp;
use common::db::sends::{self, ClaimRequest, Created, MessageFilter, SendPace, SendResult};
use common::db::{Db, Statement, deactivations};
use common::domain::message::Status;
use common::domain::phone::E164;
use testing::Database;

const FLUSH: Statement<()> = Statement::new("report statistics", "select from pg_stat_force_next_flush()");

/// Returns how many rows of a table were read so far.
async fn reads(database: &Database, db: &Db, table: &str) -> i64 {
    db.query(&FLUSH, &[]).await.unwrap();
    let reads = "select (seq_tup_read + coalesce(idx_tup_fetch, 0))::int8 \
                 from pg_stat_user_tables where relname = $1";
    database.client.query_one(reads, &[&table]).await.unwrap().get(0)
}

/// Stores failed messages, each with an attempt, as old ones that the statements do not need.
async fn failed_messages(database: &Database, number: u32) {
    let fill = format!(
        "begin;
         set local session_replication_role = replica;
         insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
         values (sms_new_id(), 'AC1', '+1203', '+1203', now());
         insert into sms_messages (id, conversation_id, direction, from_number, to_number, message_content,
             delivery_status, twilio_sid, created_at)
         select sms_new_id(), c.id, 'outbound', '+15550100', '+1203', 'x',
             case when n % 2 = 0 then 'failed' else 'undelivered' end, 'SM' || lpad(n::text, 32, '0'),
             timestamptz '2026-01-01' + n * interval '1 second'
         from sms_conversations c, generate_series(1, {number}) n;
         insert into sms_send_attempts (id, message_id, number, outcome, twilio_sid, started_at, finished_at)
         select sms_new_id(), id, 1, 'accepted', twilio_sid, created_at, created_at from sms_messages;
         commit;
         analyze"
    );
    database.client.batch_execute(&fill).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_an_outcome_reads_only_its_own_attempts() {
    let database = Database::create().await;
    failed_messages(&database, 5_000).await;
    let db = database.db();
    let claim = claimed(&db, new_send("+18605550101")).await;
    let accepted = SendResult::Accepted {
        twilio_sid: "SM0000000000000000000000000000f017".parse().unwrap(),
        status: Status::Queued,
    };
    let before = reads(&database, &db, "sms_send_attempts").await;
    sends::finish(&db, &[(&claim, &accepted)], now()).await.unwrap();
    let read = reads(&database, &db, "sms_send_attempts").await - before;
    assert!(read < 50, "{read} attempts were read");
}

/// If there is no other plan than a forbidden scan, its cost of 10 billion makes Postgres compile the statement, which
/// takes up to 80 ms at each execution.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_forbid_scans_are_not_compiled_by_postgres() {
    let database = Database::create().await;
    let forbid = "pg_proc where proconfig && array['enable_seqscan=off', 'enable_sort=off']";
    let compiled = format!(
        "select coalesce(string_agg(proname, ' '), '') from {forbid} and not proconfig @> '{{jit=off}}'"
    );
    assert_eq!(database.scalar(&compiled).await, "");
    let all: i64 = database.scalar(&format!("select count(*) from {forbid}")).await.parse().unwrap();
    assert!(all > 10, "{all}");
}

/// For `id = any('{}')`, Postgres 15 may scan every entry of a partial index that it believes to be small.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_by_a_wake_up_does_not_read_messages_on_their_way() {
    let database = Database::create().await;
    failed_messages(&database, 5_000).await;
    let on_their_way = "update sms_messages set delivery_status = 'queued' where delivery_status = 'failed'";
    database.client.batch_execute(on_their_way).await.unwrap();
    let db = database.db();
    assert!(matches!(
        sends::create(&db, &new_send("+18605550101"), None).await.unwrap(),
        Created::Stored { .. }
    ));
    let wake_up = WakeUp { sender: "+15550100".into(), due_at: now() };
    let woken = ClaimRequest { wake_ups: vec![wake_up], ..ClaimRequest::default() };
    let before = reads(&database, &db, "sms_messages").await;
    sends::candidates(&db, &woken, now(), 10).await.unwrap();
    let claims = sends::claim(&db, &woken, &SendPace::default(), now()).await.unwrap();
    let read = reads(&database, &db, "sms_messages").await - before;
    assert_eq!(claims.claimed.len(), 1);
    assert!(read < 50, "{read} messages were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_failures_reads_a_page_of_each_status() {
    let database = Database::create().await;
    failed_messages(&database, 5_000).await;
    let db = database.db();
    let filter = MessageFilter { status: None, error_code: None, since: None, until: None, limit: 20 };
    let before = reads(&database, &db, "sms_messages").await;
    let listed = sends::unsettled(&db, &filter).await.unwrap();
    let read = reads(&database, &db, "sms_messages").await - before;
    assert_eq!(listed.len(), 20);
    assert!(listed.is_sorted_by_key(|message| message.created_at));
    let statuses: Vec<_> = listed[..2].iter().map(|message| message.delivery_status).collect();
    assert_eq!(statuses, [Status::Undelivered, Status::Failed], "the oldest of both statuses");
    assert!(read < 100, "{read} messages were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_deactivated_numbers_reads_only_their_conversations() {
    let database = Database::create().await;
    database.conversations(5_000).await;
    database.client.batch_execute("analyze sms_conversations").await.unwrap();
    let db = database.db();
    let send = new_send("+18605550999");
    sends::create(&db, &send, None).await.unwrap();
    let numbers: Vec<E164> = (0..1_000).map(|n| format!("+18605550{n:03}").parse().unwrap()).collect();
    let before = reads(&database, &db, "sms_conversations").await;
    for day in ["2026-10-30", "2026-10-31"] {
        let marked = deactivations::mark(&db, &send.account_sid, day.parse().unwrap(), &numbers, now()).await;
        assert_eq!(marked.unwrap(), i64::from(day == "2026-10-30"));
    }
    let read = reads(&database, &db, "sms_conversations").await - before;
    assert!(read < 50, "{read} conversations were read");
}
