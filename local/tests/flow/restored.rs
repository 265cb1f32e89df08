//! A database restored from an earlier state: what it holds as pending was sent since, and what came since is not in it.

use crate::client::{Sql, fresh_handset};
use crate::stack::Setup;

/// Copies every table into a schema beside it.
const BACK_UP: &str = "
do $$ declare t record; begin
    create schema backup;
    for t in select tablename from pg_tables where schemaname = 'public' loop
        execute format('create table backup.%I as table public.%I', t.tablename, t.tablename);
    end loop;
end $$";

/// Puts every table back to what it was, without triggers, as a restore does.
const RESTORE: &str = "
do $$ declare t record; begin
    set local session_replication_role = replica;
    for t in select tablename from pg_tables where schemaname = 'public' loop
        execute format('delete from public.%I', t.tablename);
        execute format('insert into public.%I select * from backup.%I', t.tablename, t.tablename);
    end loop;
end $$";

/// The hour after which the messages are to be sent is over, and has been for a while.
const DUE: &str = "update sms_messages set next_attempt_at = now(), send_at = now() - interval '5 seconds'
    where delivery_status = 'pending'";

async fn run(sql: &Sql, script: &str) {
    sql.client.batch_execute(script).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_after_the_backup_is_not_sent_again_and_what_came_is_found() {
    let stack = Setup::impatient()
        .with("SEND_VERIFY_AFTER_SECONDS", "1")
        .with("RECONCILE_GRACE_SECONDS", "0")
        .start()
        .await;
    let (handset, tenant) = (fresh_handset(), fresh_handset());
    let mut ids = Vec::new();
    for body in ["The first", "The second", "The second"] {
        ids.push(stack.send_in_an_hour(&handset, body).await);
    }
    let sql = stack.sql().await;
    run(&sql, BACK_UP).await;
    run(&sql, DUE).await;
    for id in &ids {
        stack.reaches(id, "delivered").await;
    }
    stack.text(&tenant, "After the backup").await;
    stack.conversation_where(&tenant, |page| page["total"] == 1).await;
    stack.queues_are_empty().await;

    run(&sql, RESTORE).await;
    run(&sql, DUE).await;
    let mut sids = Vec::new();
    for id in &ids {
        let message = stack.becomes(id, "found", |message| message["twilio_sid"].is_string()).await;
        sids.push(message["twilio_sid"].as_str().unwrap().to_owned());
        stack.reaches(id, "delivered").await;
    }
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 3, "each has one of its own");
    let page = stack.conversation_where(&tenant, |page| page["total"] == 1).await;
    assert_eq!(page["messages"][0]["content"], "After the backup");
    stack.sweeps(3).await;
    stack.queues_are_empty().await;
    assert_eq!(stack.ledger(&handset).await.len(), 3);
}
