//! The log: positions without gaps in the order of visibility, sequences without gaps, whatever writers do.

use crate::inbound;
use common::clock;
use common::db::Db;
use common::db::events::{self, Filter};
use common::db::inbound::store;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testing::Database;
use tokio_postgres::Client;

const WRITERS: usize = 50;
const TRANSACTIONS: usize = 20;
const CONVERSATIONS: usize = 20;
/// How long a writer stays idle in its transaction.
const IDLE: Duration = Duration::from_secs(60);

/// Creates conversations and returns their ids, without events.
async fn conversations(database: &Database, number: usize) -> Vec<String> {
    let messages: Vec<_> =
        (0..number).map(|n| inbound(&format!("SM{n}"), &format!("+1860555{n:04}"))).collect();
    let stored = store(&database.db(), &messages).await.unwrap();
    let none = "delete from sms_events_pending; delete from sms_conversation_sequences";
    database.client.batch_execute(none).await.unwrap();
    stored.iter().map(|message| message.conversation_id.to_string()).collect()
}

fn below(end: usize) -> usize {
    (clock::random_fraction() * end as f64) as usize
}

/// Writes events of some conversations, like the statements of `common::db`.
async fn emit(client: &Client, conversations: &[&String], writer: &str) {
    let ids: Vec<String> = conversations.iter().map(|id| format!("'{id}'::uuid")).collect();
    let sql = format!(
        "select sms_emit_events(array_fill('message.status'::text, array[{n}]), array[{ids}],
             array_fill(null::uuid, array[{n}]), array_fill('{{\"writer\":\"{writer}\"}}'::text, array[{n}]), now())",
        n = ids.len(),
        ids = ids.join(",")
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Commits or rolls back transactions with events of random conversations. Returns the number of committed events.
async fn write(url: String, conversations: Arc<Vec<String>>) -> usize {
    let client = testing::connect(&url).await;
    let mut committed = 0;
    for _ in 0..TRANSACTIONS {
        let chosen: Vec<&String> =
            (0..=below(4)).map(|_| &conversations[below(conversations.len())]).collect();
        client.batch_execute("begin").await.unwrap();
        emit(&client, &chosen, "busy").await;
        tokio::time::sleep(Duration::from_micros(below(20_000) as u64)).await;
        let commits = below(10) < 7;
        client.batch_execute(if commits { "commit" } else { "rollback" }).await.unwrap();
        committed += if commits { chosen.len() } else { 0 };
    }
    committed
}

/// Reads the whole log from a position on, in pages of seven. Each position must be the next one.
async fn read_on(db: &Db, after: &mut i64, seen: &mut Vec<String>) {
    loop {
        let end = events::number(db).await.unwrap();
        let slice = events::read(db, &Filter::default(), *after, end.last_position, 7, 1000).await.unwrap();
        for (position, body) in slice.events {
            assert_eq!(position, *after + 1, "a position is missing or repeated");
            *after = position;
            seen.push(body);
        }
        assert_eq!(slice.read_to, *after);
        if *after == end.last_position && !end.has_more {
            return;
        }
    }
}

async fn reader(db: Db, stop: Arc<AtomicBool>) -> Vec<String> {
    let (mut after, mut seen) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        read_on(&db, &mut after, &mut seen).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    read_on(&db, &mut after, &mut seen).await;
    seen
}

/// Returns the sequences of each conversation in the order of the log.
fn sequences(bodies: &[String]) -> BTreeMap<String, Vec<i64>> {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for body in bodies {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let conversation = body["conversation_id"].as_str().unwrap().to_owned();
        found.entry(conversation).or_default().push(body["conversation_sequence"].as_i64().unwrap());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_every_committed_event_once_in_order_and_an_idle_writer_delays_only_its_own() {
    let database = Database::create().await;
    let mut ids = conversations(&database, CONVERSATIONS + 1).await;
    let idles = ids.pop().unwrap();
    let ids = Arc::new(ids);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4).map(|_| tokio::spawn(reader(database.db(), stop.clone()))).collect();

    let idle = testing::connect(&database.url()).await;
    idle.batch_execute("begin").await.unwrap();
    emit(&idle, &[&idles], "idle").await;
    let idle_since = tokio::time::Instant::now();

    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write(database.url(), ids.clone()))).collect();
    let mut committed = 0;
    for writer in writers {
        committed += writer.await.unwrap();
    }
    // All events of the others are readable while the idle writer's transaction is open.
    let (mut after, mut seen) = (0, Vec::new());
    read_on(&database.db(), &mut after, &mut seen).await;
    assert_eq!((seen.len(), after), (committed, committed as i64));

    tokio::time::sleep_until(idle_since + IDLE).await;
    emit(&database.client, &[&ids[0]], "busy").await;
    read_on(&database.db(), &mut after, &mut seen).await;
    assert_eq!(seen.len(), committed + 1, "an event that was written while a transaction was idle for long");
    idle.batch_execute("commit").await.unwrap();
    read_on(&database.db(), &mut after, &mut seen).await;
    assert!(seen.len() == committed + 2 && seen[committed + 1].contains("idle"));

    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), seen);
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    for (conversation, numbers) in sequences(&seen) {
        assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "{conversation}");
    }
    assert_eq!(database.scalar("select count(*) from sms_events_pending").await, "0");
}

#[tokio::test]
async fn a_rollback_returns_the_sequence_and_leaves_no_position() {
    let database = Database::create().await;
    let ids = conversations(&database, 1).await;
    let (mut after, mut seen) = (0, Vec::new());
    for end in ["commit", "rollback", "commit"] {
        database.client.batch_execute("begin").await.unwrap();
        emit(&database.client, &[&ids[0], &ids[0]], "x").await;
        database.client.batch_execute(end).await.unwrap();
        // A numberer that fails has no effect.
        database.client.batch_execute("begin; select sms_number_events(10); rollback").await.unwrap();
    }
    read_on(&database.db(), &mut after, &mut seen).await;
    assert_eq!((after, sequences(&seen)[&ids[0]].clone()), (4, vec![1, 2, 3, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numberer_that_is_killed_under_its_lock_blocks_no_other_and_loses_nothing() {
    let database = Database::create().await;
    let ids = conversations(&database, 3).await;
    for id in &ids {
        emit(&database.client, &[id], "x").await;
    }
    let killed = testing::connect(&database.url()).await;
    killed.batch_execute("begin; select sms_number_events(2)").await.unwrap();
    let reader = tokio::spawn(reader_of_all(database.db(), 3));
    let waiting = "select count(*) from pg_locks l join pg_stat_activity a using (pid) \
        where l.locktype = 'advisory' and not l.granted and a.datname = current_database()";
    testing::eventually("a reader waits for the numberer", async || {
        (database.scalar(waiting).await == "1").then_some(())
    })
    .await;
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
        where datname = current_database() and state = 'idle in transaction'";
    assert_eq!(database.scalar(kill).await, "1");
    let seen = reader.await.unwrap();
    assert_eq!((seen.len(), sequences(&seen).len()), (3, 3));
    assert_eq!(
        database.scalar("select string_agg(position::text, ' ' order by position) from sms_events").await,
        "1 2 3"
    );
}

/// Reads until it has seen as many events.
async fn reader_of_all(db: Db, events: usize) -> Vec<String> {
    let (mut after, mut seen) = (0, Vec::new());
    while seen.len() < events {
        read_on(&db, &mut after, &mut seen).await;
    }
    seen
}

#[tokio::test]
async fn a_read_searches_a_range_of_positions_and_begins_at_the_oldest_kept_event() {
    let database = Database::create().await;
    let db = database.db();
    let ids = conversations(&database, 2).await;
    for n in 0..60 {
        emit(&database.client, &[&ids[usize::from(n == 50)]], "x").await;
    }
    assert_eq!(events::number(&db).await.unwrap().last_position, 60);
    let filter = Filter { conversation_id: ids[1].parse().ok(), ..Filter::default() };
    let first = events::read(&db, &filter, 0, 60, 10, 20).await.unwrap();
    assert_eq!((first.events.len(), first.read_to), (0, 20));
    let third = events::read(&db, &filter, 40, 60, 10, 20).await.unwrap();
    assert_eq!((third.events.len(), third.events[0].0, third.read_to), (1, 51, 60));

    database.client.batch_execute("delete from sms_events where position <= 30").await.unwrap();
    let kept = events::read(&db, &Filter::default(), 5, 60, 2, 20).await.unwrap();
    assert_eq!((kept.events[0].0, kept.events[1].0, kept.read_to), (31, 32, 32));
    database.client.batch_execute("delete from sms_events").await.unwrap();
    emit(&database.client, &[&ids[0]], "x").await;
    assert_eq!(events::number(&db).await.unwrap().last_position, 61);
    assert_eq!(events::read(&db, &Filter::default(), 5, 61, 2, 20).await.unwrap().events[0].0, 61);
}

#[tokio::test]
async fn a_cursor_and_the_sequences_survive_a_dump_and_a_restore() {
    let database = Database::create().await;
    let programs = database.scalar("select setting from pg_config() where name = 'BINDIR'").await;
    let program = |name: &str| Path::new(&programs).join(name);
    if !program("pg_dump").exists() || !program("psql").exists() {
        testing::skipped(
            "a_cursor_and_the_sequences_survive_a_dump_and_a_restore",
            "pg_dump is not installed",
        );
        return;
    }
    let ids = conversations(&database, 2).await;
    for _ in 0..3 {
        emit(&database.client, &[&ids[0], &ids[1]], "x").await;
    }
    let (mut cursor, mut seen) = (0, Vec::new());
    read_on(&database.db(), &mut cursor, &mut seen).await;
    emit(&database.client, &[&ids[0]], "numbered later").await;
    events::number(&database.db()).await.unwrap();
    emit(&database.client, &[&ids[1]], "not numbered at the dump").await;

    let dump = Command::new(program("pg_dump")).arg(database.url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = Database::create().await;
    restored.client.batch_execute("drop schema public cascade").await.unwrap();
    restored.client.batch_execute("create schema public").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump.stdout).unwrap();
    let restore = Command::new(program("psql"))
        .args(["--quiet", "--set", "ON_ERROR_STOP=1", "--file"])
        .arg(file.path())
        .arg(restored.url())
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));

    let client = testing::connect(&restored.url()).await;
    emit(&client, &[&ids[0]], "after the restore").await;
    read_on(&restored.db(), &mut cursor, &mut seen).await;
    assert_eq!((cursor, seen.len()), (9, 9));
    assert!(seen[7].contains("not numbered at the dump") && seen[8].contains("after the restore"));
    for numbers in sequences(&seen).values() {
        assert_eq!(*numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
    }
}
