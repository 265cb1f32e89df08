//! Everything through a transaction pooler: nothing may rely on what a session keeps.

use common::clock;
use common::db::sends::{self, Asked, Pace, Passage};
use common::db::{DatabaseConfig, Db};
use futures::future::join_all;
use jiff::SignedDuration;

use crate::client::fresh_handset;
use crate::door::Database;
use crate::oracle::{self, PATIENCE, QUIET};
use crate::pooler::{Pooler, SESSIONS};
use crate::stack::{Setup, Stack};
use crate::stop_meets_send::race;

/// What a session would still hold when its client is another one.
const LEFT_BEHIND: &str = "select count(*) from pg_locks where locktype = 'advisory'";
/// The pooler's sessions.
const POOLED: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
/// Whoever waits for an advisory lock.
const WAITING: &str = "select count(*) from pg_locks where locktype = 'advisory' and not granted";

async fn start(database: &Database, pooler: &Pooler) -> Stack {
    Setup::impatient()
        .with("DATABASE_URL", pooler.url())
        .with("SEND_RETRY_DELAYS_SECONDS", "1")
        .looked_at_by(&database.url())
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_and_sends_keep_apart_while_all_functions_share_a_few_sessions() {
    let database = Database::start().await;
    let Some(pooler) =
        Pooler::start(&database.url(), "stops_and_sends_keep_apart_while_all_functions_share_a_few_sessions")
            .await
    else {
        return;
    };
    let stack = start(&database, &pooler).await;
    let plain = join_all((0..24).map(|_| {
        let stack = &stack;
        async move { stack.intend(&fresh_handset(), "One of many").await }
    }));
    let (plain, mut intents) = tokio::join!(plain, race(&stack, 12));
    assert!(pooler.clients().await > SESSIONS, "they did not have to share");
    for intent in &plain {
        stack.reaches(&intent.id, "delivered").await;
    }
    intents.extend(plain);
    oracle::quiet(&stack, PATIENCE).await;
    let figures = oracle::judge(&stack, &intents, QUIET).await;
    assert_eq!((figures.stops, figures.unknown), (12, 0), "{figures}");
    let sql = stack.sql().await;
    assert_eq!(sql.count(LEFT_BEHIND, &[]).await, 0);
    assert!(sql.count(POOLED, &[]).await <= SESSIONS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_at_the_gate_for_a_call_and_a_call_for_a_stop_in_whichever_sessions_they_are() {
    let database = Database::start().await;
    let Some(pooler) = Pooler::start(
        &database.url(),
        "a_stop_waits_at_the_gate_for_a_call_and_a_call_for_a_stop_in_whichever_sessions_they_are",
    )
    .await
    else {
        return;
    };
    let stack = start(&database, &pooler).await;
    let (sql, db) = (stack.sql().await, Db::new(&DatabaseConfig::for_url(pooler.url())).unwrap());
    let handset = fresh_handset();
    let intent = stack.intend(&handset, "There already").await;
    stack.reaches(&intent.id, "delivered").await;
    // Claimed here, so that no function of the stack sends it.
    let waiting = stack.send_in_an_hour(&handset, "Claimed by the test").await.parse().unwrap();
    let asked = Asked { allowed: Some(vec![waiting]), ..Asked::messages(&[waiting]) };
    let due = clock::now() + SignedDuration::from_hours(2);
    let claimed = sends::claim(&db, &asked, &Pace::default(), due).await.unwrap().claimed;
    let claims = [&claimed[0]];
    let pass = async || {
        let (passages, held) = sends::pass_gate(&db, &claims, clock::now()).await.unwrap();
        (passages[&waiting], held)
    };

    // A call is about to be made: the STOP is not recorded before it was.
    let (passage, held) = pass().await;
    assert_eq!(passage, Passage::Go);
    stack.text(&handset, "BAJA").await;
    sql.reaches(WAITING, &[], 1).await;
    assert_eq!(stack.conversation(&handset).await.unwrap()["opted_out"], false);
    held.release().await;
    stack.conversation_where(&handset, |page| page["opted_out"] == true).await;

    // Now it is recorded, and no call passes.
    let (passage, held) = pass().await;
    assert_eq!(passage, Passage::OptedOut);
    held.release().await;

    // A STOP that is not committed yet: a call waits to be told.
    stack.text(&handset, "START").await;
    stack.conversation_where(&handset, |page| page["opted_out"] == false).await;
    stack.queues_are_empty().await;
    let mut recorder = stack.sql().await;
    let stop = recorder.client.transaction().await.unwrap();
    let recorded = format!(
        "insert into sms_opt_out_events (id, conversation_id, action, source, evidence, created_at) \
         select gen_random_uuid(), conversation_id, 'opt_out', 'keyword', 'a test', now() from sms_messages \
         where id = '{}'",
        intent.id
    );
    stop.batch_execute(&recorded).await.unwrap();
    let ((passage, held), ()) = tokio::join!(pass(), async {
        sql.reaches(WAITING, &[], 1).await;
        stop.commit().await.unwrap();
    });
    assert_eq!(passage, Passage::OptedOut, "it was told of the STOP that it waited for");
    held.release().await;
    sql.reaches(LEFT_BEHIND, &[], 0).await;
}
