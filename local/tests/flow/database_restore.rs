//! A database restored from a backup: messages that are pending in it were sent later, and later messages are missing.

use crate::client::{Sql, fresh_handset};
use crate::stack::Setup;

/// Copies all tables into another schema.
const BACK_UP: &str = "
do $$ declare t record; begin
    create schema backup;
    for t in select tablename from pg_tables where schemaname = 'public' loop
        execute format('create table backup.%I as table public.%I', t.tablename, t.tablename);
    end loop;
end $$";

/// Restores all tables without running triggers. Generated columns are computed.
const RESTORE: &str = "
do $$ declare t record; begin
    set local session_replication_role = replica;
    for t in select c.relname as name, string_agg(quote_ident(a.attname), ', ') as columns
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
          and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        group by c.relname
    loop
        execute format('delete from public.%I', t.name);
        execute format('insert into public.%1$I (%2$s) overriding system value select %2$s from backup.%1$I',
            t.name, t.columns);
    end loop;
end $$";

/// Makes the scheduled messages due five seconds ago.
const DUE: &str = "update sms_messages set next_attempt_at = now(), send_at = now() - interval '5 seconds'
    where delivery_status = 'pending'";

async fn run(sql: &Sql, script: &str) {
    sql.client.batch_execute(script).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_messages_are_not_sent_again_and_missing_ones_are_recovered() {
    let stack = Setup::fast()
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
        stack.wait_for_status(id, "delivered").await;
    }
    stack.send_from_handset(&tenant, "After the backup").await;
    stack.wait_for_conversation(&tenant, |page| page["total"] == 1).await;
    stack.wait_for_empty_queues().await;

    run(&sql, RESTORE).await;
    run(&sql, DUE).await;
    let mut sids = Vec::new();
    for id in &ids {
        let message = stack
            .wait_for_message(id, "is found at Twilio", |message| message["twilio_sid"].is_string())
            .await;
        sids.push(message["twilio_sid"].as_str().unwrap().to_owned());
        stack.wait_for_status(id, "delivered").await;
    }
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 3, "each message must have its own SID");
    let page = stack.wait_for_conversation(&tenant, |page| page["total"] == 1).await;
    assert_eq!(page["messages"][0]["content"], "After the backup");
    stack.wait_for_sweeps(3).await;
    stack.wait_for_empty_queues().await;
    assert_eq!(stack.received_by(&handset).await.len(), 3);
}
