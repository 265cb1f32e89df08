//! A database restored from a backup: messages that are pending in it were sent later, and later messages are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Sql, fresh_handset, request, send_request};
use crate::services::Database;
use crate::stack::{Setup, Stack};

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

/// Runs a program of PostgreSQL's client. Returns `None` if it is not installed.
fn client_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<_> = packaged.map(|entry| entry.path().join("bin")).collect();
    packaged.sort();
    // The newest first: a client reads older servers, but not newer ones.
    packaged
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .map(|bin| bin.join(name))
        .find(|file| file.exists())
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A caller of the API that repeats its requests with the same Idempotency-Key.
struct Caller {
    key: String,
}

impl Caller {
    /// Creates the caller's key, which is in the backup.
    fn new(stack: &Stack) -> Self {
        let output = stack.command(&["key", "--scopes", "messages:send"]);
        Self { key: String::from_utf8(output.stdout).unwrap().trim().to_owned() }
    }

    async fn send(&self, stack: &Stack, to: &str, body: &str, idempotency_key: &str) -> String {
        let call = || {
            let call = stack.api_request_with(&self.key, "POST", "/sms/send");
            call.header("idempotency-key", idempotency_key).json(&json!({ "to": to, "body": body }))
        };
        let response = stack.response_to(call).await;
        assert_eq!(response.status, 202, "{response:?}");
        response.json()["id"].as_str().unwrap().to_owned()
    }
}

/// Settings with real intervals, in which no message is sent: the mapping of `send-outbound` is disabled.
fn on_hold(database_url: &str, since: &str) -> Setup {
    Setup::as_deployed()
        .edited(
            "GetAtt OutboundQueue.Arn\n      BatchSize",
            "GetAtt OutboundQueue.Arn\n      Enabled: false\n      BatchSize",
        )
        .with("DATABASE_URL", database_url)
        .with("SEND_VERIFY_SINCE", since)
        .with("RECONCILE_GRACE_SECONDS", "0")
}

/// The procedure of common/docs/operations.md, "Restoring a backup", with `pg_dump`. Prints its counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_dump_is_completed_from_twilio_and_repeated_requests_are_not_sent_twice() {
    let test = "a_restored_dump_is_completed_from_twilio_and_repeated_requests_are_not_sent_twice";
    let (Some(pg_dump), Some(pg_restore)) = (client_program("pg_dump"), client_program("pg_restore")) else {
        return testing::skipped(test, "pg_dump is not installed");
    };
    let database = Database::start().await;
    let mut stack = Setup::fast().with("DATABASE_URL", &database.url()).start().await;
    let caller = Caller::new(&stack);

    // Before the backup: a delivered message, three scheduled ones, one more to a handset that will send STOP, a text.
    let (known, scheduled, refusing, tenant) =
        (fresh_handset(), fresh_handset(), fresh_handset(), fresh_handset());
    let id = stack.send(&known, "Before the backup").await;
    stack.wait_for_status(&id, "delivered").await;
    let mut due = Vec::new();
    for number in 1..=3 {
        due.push(stack.send_in_an_hour(&scheduled, &format!("Reminder {number}")).await);
    }
    let refused = stack.send_in_an_hour(&refusing, "Reminder").await;
    stack.send_from_handset(&tenant, "Before the backup").await;
    stack.wait_for_conversation(&tenant, |page| page["total"] == 1).await;
    stack.wait_for_empty_queues().await;

    let dump = stack.folder().join("dump");
    #[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
    let since = jiff::Timestamp::now();
    succeed(Command::new(&pg_dump).args(["--format=custom", "--file"]).arg(&dump).arg(database.url()));

    // After the backup: the scheduled messages, four new requests, five texts, a STOP.
    for id in &due {
        stack.make_due(id).await;
        stack.wait_for_status(id, "delivered").await;
    }
    let lost: Vec<String> = (0..4).map(|_| fresh_handset()).collect();
    for (number, to) in lost.iter().enumerate() {
        let id = caller.send(&stack, to, "Your rent is due", &format!("request-{number}")).await;
        stack.wait_for_status(&id, "delivered").await;
    }
    for number in 1..=5 {
        stack.send_from_handset(&tenant, &format!("After the backup {number}")).await;
    }
    stack.send_from_handset(&refusing, "STOP").await;
    stack.wait_for_conversation(&tenant, |page| page["total"] == 6).await;
    stack.wait_for_conversation(&refusing, |page| page["opted_out"] == true).await;
    stack.wait_for_empty_queues().await;
    stack.signal(Signal::TERM).await;

    let restored = restore(&database, &pg_restore, &dump).await;
    let since = since.to_string();
    let mut stack = stack.restart_as(on_hold(&restored, &since)).await;

    // Sends are on hold. Callers repeat requests; one makes a new request with the text of a lost one.
    let mut repeated = Vec::new();
    for number in [0, 1] {
        repeated
            .push(caller.send(&stack, &lost[number], "Your rent is due", &format!("request-{number}")).await);
    }
    repeated.push(caller.send(&stack, &lost[2], "Your rent is due", "another request").await);
    let new = caller.send(&stack, &lost[0], "Something new", "new-request").await;
    let payload = json!({ "since": since, "until": now() });
    let reconciled = stack.invoke("reconcile-twilio", payload.clone()).await;
    println!("reconcile-twilio: {reconciled}");
    assert_eq!(
        (&reconciled["inbound_recovered"], &reconciled["unfinished"]),
        (&json!(6), &json!(false)),
        "{reconciled}"
    );
    assert_eq!(stack.invoke("reconcile-twilio", payload).await["inbound_recovered"], 0);
    assert_eq!(stack.conversation(&tenant).await.unwrap()["total"], 6);
    assert_eq!(stack.conversation(&refusing).await.unwrap()["opted_out"], true);
    let unknown = count_unknown(&stack).await;
    println!("outbound messages at Twilio that the database does not know: {unknown}");
    assert_eq!(unknown, 7, "three scheduled ones without a SID, and four that are missing");

    // Sending continues.
    stack.signal(Signal::TERM).await;
    let verifying = Setup::fast().with("DATABASE_URL", &restored).with("SEND_VERIFY_SINCE", &since);
    let mut stack = stack.restart_as(verifying).await;
    for id in due.iter().chain(&repeated).chain([&new]) {
        stack.wait_for_status(id, "delivered").await;
    }
    let message = stack.wait_for_status(&refused, "failed").await;
    assert_eq!(message["error_code"], "opted_out");
    stack.wait_for_empty_queues().await;
    let mut received = Vec::new();
    for handset in [&known, &scheduled, &refusing, &lost[0], &lost[1], &lost[2], &lost[3]] {
        received.push(stack.received_by(handset).await.len());
    }
    println!("messages per handset with SEND_VERIFY_SINCE: {received:?}");
    assert_eq!(received, [1, 3, 0, 2, 1, 1, 1]);
    assert_eq!(count_unknown(&stack).await, 1, "the last request was not repeated");

    // Without the setting, the repetition of the last request is a second message.
    stack.signal(Signal::TERM).await;
    let stack = stack.restart_as(Setup::fast().with("DATABASE_URL", &restored)).await;
    let id = caller.send(&stack, &lost[3], "Your rent is due", "request-3").await;
    stack.wait_for_status(&id, "delivered").await;
    let received = stack.received_by(&lost[3]).await.len();
    println!("messages of a request that is repeated without SEND_VERIFY_SINCE: {received}");
    assert_eq!(received, 2);
    stack.wait_for_empty_queues().await;
}

#[expect(clippy::disallowed_methods, reason = "tests do not use the service's clock")]
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Restores a dump as a new database and returns its URL. Scheduled messages are due now, as if the hour had passed.
async fn restore(database: &Database, pg_restore: &Path, dump: &Path) -> String {
    let sql = Sql::connect(&database.url()).await;
    run(&sql, "create database restored").await;
    let mut url = url::Url::parse(&database.url()).unwrap();
    url.set_path("restored");
    let url = String::from(url);
    succeed(Command::new(pg_restore).args(["--exit-on-error", "--dbname", &url]).arg(dump));
    run(&Sql::connect(&url).await, DUE).await;
    url
}

/// Counts the messages that Twilio has sent and that have no row with their SID.
async fn count_unknown(stack: &Stack) -> usize {
    let ledger =
        send_request(request("GET", &format!("{}/simulator/ledger", stack.info.twilio_api_url))).await.json();
    let sids: Vec<&str> = ledger
        .as_array()
        .unwrap()
        .iter()
        .filter(|received| received["kind"] == "message")
        .map(|received| received["message_sid"].as_str().unwrap())
        .collect();
    let known = "select count(*) from sms_messages where twilio_sid = any($1)";
    let known = stack.sql().await.count(known, &[&sids]).await;
    sids.len() - usize::try_from(known).unwrap()
}
