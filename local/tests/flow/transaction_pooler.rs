//! The stack behind a transaction pooler. Nothing may depend on session state.

use common::clock;
use common::db::events::{self, Filter};
use common::db::migrations;
use common::db::sends::{self, ClaimRequest, Passage, SendPace};
use common::db::{DatabaseConfig, Db};
use futures::future::join_all;
use jiff::SignedDuration;

use crate::client::fresh_handset;
use crate::oracle::{self, DEADLINE, IDLE};
use crate::pgbouncer::{Pooler, SESSIONS};
use crate::services::Database;
use crate::stack::{Setup, Stack};
use crate::stop_during_send::race;

/// Counts advisory locks, which a session would keep when the pooler assigns it to another client.
const ADVISORY_LOCKS: &str = "select count(*) from pg_locks where locktype = 'advisory'";
/// Counts the pooler's sessions.
const POOLED: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
/// Counts sessions that wait for an advisory lock.
const WAITING: &str = "select count(*) from pg_locks where locktype = 'advisory' and not granted";

async fn start(database: &Database, pooler: &Pooler) -> Stack {
    Setup::fast()
        .with("DATABASE_URL", pooler.url())
        .with("SEND_RETRY_DELAYS_SECONDS", "1")
        .with_direct_database(&database.url())
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_and_sends_exclude_each_other_with_few_shared_sessions() {
    let database = Database::start().await;
    let Some(pooler) =
        Pooler::start(&database.url(), "stops_and_sends_exclude_each_other_with_few_shared_sessions").await
    else {
        return;
    };
    let stack = start(&database, &pooler).await;
    let plain = join_all((0..24).map(|_| {
        let stack = &stack;
        async move { stack.send_unique(&fresh_handset(), "One of many").await }
    }));
    let (plain, mut sends) = tokio::join!(plain, race(&stack, 12));
    assert!(pooler.clients().await > SESSIONS, "there must be more clients than sessions");
    for send in &plain {
        stack.wait_for_status(&send.id, "delivered").await;
    }
    sends.extend(plain);
    oracle::wait_until_idle(&stack, DEADLINE).await;
    let figures = oracle::check(&stack, &sends, IDLE).await;
    assert_eq!((figures.stops, figures.unknown), (12, 0), "{figures}");
    let sql = stack.sql().await;
    // A transaction that numbers events has one for a moment.
    sql.wait_for_count(ADVISORY_LOCKS, &[], 0).await;
    assert!(sql.count(POOLED, &[]).await <= SESSIONS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_create_call_wait_for_each_other_across_sessions() {
    let database = Database::start().await;
    let Some(pooler) =
        Pooler::start(&database.url(), "a_stop_and_a_create_call_wait_for_each_other_across_sessions").await
    else {
        return;
    };
    let stack = start(&database, &pooler).await;
    let (sql, db) = (stack.sql().await, Db::new(&DatabaseConfig::for_url(pooler.url())).unwrap());
    let handset = fresh_handset();
    let send = stack.send_unique(&handset, "Delivered already").await;
    stack.wait_for_status(&send.id, "delivered").await;
    // Claimed by the test, so that no function sends it.
    let waiting = stack.send_in_an_hour(&handset, "Claimed by the test").await.parse().unwrap();
    let asked = ClaimRequest { allowed: Some(vec![waiting]), ..ClaimRequest::messages(&[waiting]) };
    let due = clock::now() + SignedDuration::from_hours(2);
    let claimed = sends::claim(&db, &asked, &SendPace::default(), due).await.unwrap().claimed;
    let claims = [&claimed[0]];
    let pass = async || {
        let (passages, held) = sends::pass_gate(&db, &claims, clock::now()).await.unwrap();
        (passages[&waiting], held)
    };

    // While a create call is being made, the STOP is not recorded.
    let (passage, held) = pass().await;
    assert_eq!(passage, Passage::Go);
    stack.send_from_handset(&handset, "BAJA").await;
    sql.wait_for_count(WAITING, &[], 1).await;
    assert_eq!(stack.conversation(&handset).await.unwrap()["opted_out"], false);
    held.release().await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == true).await;

    // After the STOP is recorded, no call is permitted.
    let (passage, held) = pass().await;
    assert_eq!(passage, Passage::OptedOut);
    held.release().await;

    // A call waits until a concurrent STOP is committed.
    stack.send_from_handset(&handset, "START").await;
    stack.wait_for_conversation(&handset, |page| page["opted_out"] == false).await;
    stack.wait_for_empty_queues().await;
    let mut recorder = stack.sql().await;
    let stop = recorder.client.transaction().await.unwrap();
    let recorded = format!(
        "insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at) \
         select gen_random_uuid(), conversation_id, 'opt_out', 'keyword', 'a test', now() from sms_messages \
         where id = '{}'",
        send.id
    );
    stop.batch_execute(&recorded).await.unwrap();
    let ((passage, held), ()) = tokio::join!(pass(), async {
        sql.wait_for_count(WAITING, &[], 1).await;
        stop.commit().await.unwrap();
    });
    assert_eq!(passage, Passage::OptedOut, "the call must see the STOP that it waited for");
    held.release().await;
    sql.wait_for_count(ADVISORY_LOCKS, &[], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_number_events_once_and_see_all_of_them_behind_a_pooler() {
    let name = "many_readers_number_events_once_and_see_all_of_them_behind_a_pooler";
    let database = Database::start().await;
    let Some(pooler) = Pooler::start(&database.url(), name).await else { return };
    let direct = Db::new(&DatabaseConfig::for_url(&database.url())).unwrap();
    migrations::migrate(&direct).await.unwrap();
    let conversations = "insert into sms_conversations (id, account_sid, phone_number_canonical, \
        phone_number_original, created_at) \
        select lpad(n::text, 32, '0')::uuid, 'AC1', '+1860555000' || n, 'x', now() from generate_series(1, 5) n";
    testing::connect(&database.url()).await.batch_execute(conversations).await.unwrap();

    const EVENTS: i64 = 400;
    let writers = (0..EVENTS / 20).map(|writer| {
        let url = pooler.url().to_owned();
        async move {
            let client = testing::connect(&url).await;
            let emit = format!(
                "select sms_emit_events(array['message.status'], array[lpad('{}', 32, '0')::uuid], \
                     array[null::uuid], array['{{}}'], now())",
                1 + writer % 5
            );
            for round in 0..40 {
                let end = if round % 2 == 0 { "commit" } else { "rollback" };
                client.batch_execute(&format!("begin; {emit}; {end}")).await.unwrap();
            }
        }
    });
    // They stay connected until their connections are counted.
    let pools: Vec<_> = (0..10).map(|_| Db::new(&DatabaseConfig::for_url(pooler.url())).unwrap()).collect();
    let readers = pools.iter().map(|db| async move {
        let mut last = 0;
        while last < EVENTS {
            let end = events::number(db).await.unwrap().last_position;
            let slice = events::read(db, &Filter::default(), last, end, 50, 1000).await.unwrap();
            for (position, _) in slice.events {
                assert_eq!(position, last + 1);
                last = position;
            }
        }
    });
    tokio::join!(join_all(writers), join_all(readers));
    assert!(pooler.clients().await >= 10, "the readers' connections");
    assert_eq!(events::number(&direct).await.unwrap().last_position, EVENTS);
}
