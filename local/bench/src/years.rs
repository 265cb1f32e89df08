//! Operations in a database with two years of traffic, next to a small one: `make bench BENCH=years`.

mod contention;
mod generator;
mod load;
mod meter;
mod operations;
mod rows;
mod server;
#[cfg(test)]
mod tests;

use crate::statistics::{median, milliseconds};
use common::clock;
use generator::Plan;
use jiff::{SignedDuration, ToSpan, tz::TimeZone};
use meter::{Cost, Meter};
use operations::{Operation, Worker};
use server::Server;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::Client;

/// The disk space of a loaded message with all its rows and indexes: 1,690 bytes, measured with two million messages
/// on 2026-11-28, and something for sorting the indexes.
const BYTES_PER_MESSAGE: u64 = 1_900;
/// The disk space for WAL and everything else.
const OTHER_BYTES: u64 = 6_000_000_000;
/// The databases.
const SMALL: &str = "small";
const YEARS: &str = "years";
/// The messages of the small database.
const SMALL_MESSAGES: u64 = 40_000;
/// The messages that are scheduled for tomorrow, in both databases.
const SCHEDULED: usize = 100;
/// An operation may become this much more expensive.
const MAX_GROWTH: f64 = 1.15;

/// Prints what each operation costs in both databases.
///
/// # Errors
///
/// When the disk has not enough room.
pub fn measure(folder: &Path, messages: u64, rounds: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let server = Server::start(folder).await;
        let (needed, free) = (messages * BYTES_PER_MESSAGE + OTHER_BYTES, server.free_bytes());
        if free < needed {
            server.remove().await;
            return Err(format!(
                "{messages} messages need {} GB, and the disk has {} GB; choose fewer with YEARS_MESSAGES",
                needed / 1_000_000_000,
                free / 1_000_000_000,
            ));
        }
        let server = compare(server, messages, rounds).await;
        server.remove().await;
        Ok(())
    })
}

async fn compare(server: Server, messages: u64, rounds: u64) -> Server {
    let until = clock::now() - SignedDuration::from_mins(1);
    let since = until.to_zoned(TimeZone::UTC).saturating_sub(load::MONTHS.months()).timestamp();
    let plans = [(SMALL, SMALL_MESSAGES), (YEARS, messages)]
        .map(|(database, messages)| (database, Plan { messages, since, until }));
    for (database, plan) in plans {
        server.create(database).await;
        load::load(&server, database, plan).await;
    }
    let server = server.restart().await;
    print_sizes(&server, messages).await;
    compare_operations(&server, plans, rounds).await;
    contention::measure(&server, YEARS, plans[1].1).await;
    server
}

/// Measures all operations in both databases, in turns, so that a slow minute affects both.
async fn compare_operations(server: &Server, plans: [(&'static str, Plan); 2], rounds: u64) {
    let observer = server.connect(None).await;
    let mut sides = Vec::new();
    for (database, plan) in plans {
        let client = server.connect(Some(database)).await;
        let db = server.db(database);
        let worker = Worker::new(db.clone(), plan, 2);
        sides.push(Side { client, worker, meter: Meter::new(db, database, &observer), measured: Vec::new() });
    }
    println!(
        "years | operation | CPU, ms | × | buffers | × | of these read | WAL, bytes | × | WAL after a checkpoint |"
    );
    for operation in Operation::ALL {
        for side in &mut sides {
            side.prepare(operation).await;
        }
        full_page_writes(&observer, false).await;
        // The first round is the warm-up.
        for round in 0..=rounds {
            for side in &mut sides {
                side.run(operation, round > 0).await;
            }
        }
        full_page_writes(&observer, true).await;
        observer.batch_execute("checkpoint").await.expect("a checkpoint");
        let mut with_images = Vec::new();
        for side in &mut sides {
            with_images.push(side.run(operation, false).await.wal_bytes as f64 / messages_of(operation));
        }
        let costs: Vec<_> = sides
            .iter_mut()
            .map(|side| PerMessage::of(&std::mem::take(&mut side.measured), operation))
            .collect();
        print_costs(operation, &costs[0], &costs[1], with_images[1]);
    }
}

/// One of the two databases.
struct Side<'a> {
    client: Client,
    worker: Worker,
    meter: Meter<'a>,
    measured: Vec<Cost>,
}

impl Side<'_> {
    /// Removes what earlier operations left behind, as autovacuum would.
    async fn prepare(&mut self, operation: Operation) {
        if operation == Operation::Page {
            // Later operations find only messages that are not due.
            self.worker.schedule(SCHEDULED).await;
        }
        let tables = "sms_messages, sms_send_attempts, sms_message_sids, sms_callbacks, sms_conversations, sms_senders";
        self.client.batch_execute(&format!("vacuum {tables}")).await.expect("a vacuum");
    }

    async fn run(&mut self, operation: Operation, is_measured: bool) -> Cost {
        let before = self.meter.read().await;
        for _ in 0..operation.calls() {
            self.worker.call(operation).await;
        }
        let cost = self.meter.read().await.since(before);
        if is_measured {
            self.measured.push(cost);
        }
        cost
    }
}

/// Full-page images depend on the time since the last checkpoint. The main measurement excludes them.
async fn full_page_writes(client: &Client, on: bool) {
    client.batch_execute(&format!("alter system set full_page_writes = {on}")).await.expect("a setting");
    client.batch_execute("select pg_reload_conf()").await.expect("a reload");
    loop {
        let row = client.query_one("select current_setting('full_page_writes') = 'on'", &[]).await;
        if row.expect("a setting").get::<_, bool>(0) == on {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn messages_of(operation: Operation) -> f64 {
    (operation.calls() * operation.units()) as f64
}

/// The costs of an operation, per message.
#[derive(Debug)]
struct PerMessage {
    cpu_ms: f64,
    buffers: f64,
    reads: f64,
    wal_bytes: f64,
}

impl PerMessage {
    /// Returns the medians of the rounds.
    fn of(rounds: &[Cost], operation: Operation) -> Self {
        let messages = messages_of(operation);
        let of = |value: fn(&Cost) -> f64| {
            median(&rounds.iter().map(|cost| value(cost) / messages).collect::<Vec<_>>())
        };
        Self {
            cpu_ms: of(|cost| milliseconds(cost.cpu)),
            buffers: of(|cost| (cost.hits + cost.reads) as f64),
            reads: of(|cost| cost.reads as f64),
            wal_bytes: of(|cost| cost.wal_bytes as f64),
        }
    }
}

fn print_costs(operation: Operation, small: &PerMessage, years: &PerMessage, wal_with_images: f64) {
    let growth = years.cpu_ms / small.cpu_ms;
    println!(
        "years | {} | {:.3} → {:.3} | {growth:.2} | {:.1} → {:.1} | {:.2} | {:.2} → {:.2} | {:.0} → {:.0} | {} | \
         {wal_with_images:.0} |{}",
        operation.name(),
        small.cpu_ms,
        years.cpu_ms,
        small.buffers,
        years.buffers,
        years.buffers / small.buffers,
        small.reads,
        years.reads,
        small.wal_bytes,
        years.wal_bytes,
        if small.wal_bytes > 1.0 {
            format!("{:.2}", years.wal_bytes / small.wal_bytes)
        } else {
            "–".to_owned()
        },
        if growth > MAX_GROWTH { " grows" } else { "" },
    );
}

/// Prints the sizes of the tables with their indexes.
async fn print_sizes(server: &Server, messages: u64) {
    let client = server.connect(Some(YEARS)).await;
    let sizes = "
        with recursive part as (
            select oid as root, oid from pg_class
            where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace
            union all select part.root, inhrelid from part join pg_inherits on inhparent = part.oid
        )
        select root::regclass::text, sum(pg_table_size(part.oid))::int8, sum(pg_indexes_size(part.oid))::int8,
            count(*) - 1, sum(greatest(c.reltuples, 0) * (c.relkind = 'r')::int)::int8
        from part join pg_class c on c.oid = part.oid
        group by root having sum(pg_total_relation_size(part.oid)) > 1000000 order by 2 desc";
    for row in client.query(sizes, &[]).await.expect("sizes") {
        let [table, indexes] = [1, 2].map(|column| row.get::<_, i64>(column));
        println!(
            "years size table={} rows={} partitions={} table_mb={} indexes_mb={} bytes_per_message={:.0}",
            row.get::<_, String>(0),
            row.get::<_, i64>(4),
            row.get::<_, i64>(3),
            table / 1_000_000,
            indexes / 1_000_000,
            (table + indexes) as f64 / messages as f64,
        );
    }
    let database =
        client.query_one("select pg_database_size(current_database())", &[]).await.expect("a size");
    let bytes: i64 = database.get(0);
    println!(
        "years size database_mb={} bytes_per_message={:.0}",
        bytes / 1_000_000,
        bytes as f64 / messages as f64
    );
}
