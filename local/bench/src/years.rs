//! Operations in a database with two years of traffic, next to a small one: `make bench BENCH=years`.

mod contention;
mod generator;
mod load;
mod meter;
mod operations;
mod rows;
mod server;

use crate::statistics::{median, milliseconds};
use common::clock;
use generator::Plan;
use jiff::{SignedDuration, ToSpan, tz::TimeZone};
use meter::{Cost, Meter};
use operations::{Operation, Population, Worker};
use server::Server;
use std::path::Path;

/// The disk space of a loaded message with all its rows and indexes, including what the load needs temporarily.
/// Measured with three million messages.
const BYTES_PER_MESSAGE: u64 = 2_400;
/// The disk space for WAL and everything else.
const OTHER_BYTES: u64 = 6_000_000_000;
/// The databases.
const SMALL: &str = "small";
const YEARS: &str = "years";
/// The conversations of the small database.
const CONVERSATIONS: u64 = 200;
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
    let plan = Plan { messages, since, until };
    for database in [SMALL, YEARS] {
        server.create(database).await;
    }
    load::load(&server, YEARS, plan).await;
    let server = server.restart().await;
    print_sizes(&server, messages).await;

    let small = Population::Small(CONVERSATIONS);
    let mut worker = Worker::new(server.db(SMALL), small, 1);
    worker.prepare(CONVERSATIONS).await;
    let costs_of_small = costs(&server, SMALL, small, rounds).await;
    let years = Population::Years(plan);
    let costs_of_years = costs(&server, YEARS, years, rounds).await;
    println!(
        "years | operation | CPU, ms | × | buffers | × | of these read | WAL, bytes | × | full-page images |"
    );
    for ((operation, small), years) in Operation::ALL.iter().zip(&costs_of_small).zip(&costs_of_years) {
        print_costs(*operation, small, years);
    }
    contention::measure(&server, YEARS, years).await;
    server
}

/// Returns the costs of all operations, per message.
async fn costs(
    server: &Server,
    database: &'static str,
    population: Population,
    rounds: u64,
) -> Vec<PerMessage> {
    let db = server.db(database);
    let observer = server.connect(None).await;
    let client = server.connect(Some(database)).await;
    client.batch_execute("vacuum analyze").await.expect("a vacuum");
    let meter = Meter::new(&db, database, &observer);
    let mut worker = Worker::new(db.clone(), population, 2);
    let mut costs = Vec::new();
    for operation in Operation::ALL {
        if operation == Operation::Page {
            // Later operations must find only scheduled messages.
            worker.schedule(SCHEDULED).await;
        }
        // The images of pages after a checkpoint are counted too, as in the first minutes after it.
        client.batch_execute("checkpoint").await.expect("a checkpoint");
        let mut measured = Vec::new();
        for round in 0..=rounds {
            let before = meter.read().await;
            for _ in 0..operation.calls() {
                worker.call(operation).await;
            }
            let cost = meter.read().await.since(before);
            // The first round is the warm-up.
            if round > 0 {
                measured.push(cost);
            }
        }
        costs.push(PerMessage::of(&measured, operation.calls() * operation.units()));
    }
    costs
}

/// The costs of an operation, per message.
#[derive(Debug)]
struct PerMessage {
    cpu_ms: f64,
    buffers: f64,
    reads: f64,
    wal_bytes: f64,
    full_page_images: f64,
}

impl PerMessage {
    /// Returns the medians of the rounds.
    fn of(rounds: &[Cost], messages: usize) -> Self {
        let of = |value: fn(&Cost) -> f64| {
            median(&rounds.iter().map(|cost| value(cost) / messages as f64).collect::<Vec<_>>())
        };
        Self {
            cpu_ms: of(|cost| milliseconds(cost.cpu)),
            buffers: of(|cost| (cost.hits + cost.reads) as f64),
            reads: of(|cost| cost.reads as f64),
            wal_bytes: of(|cost| cost.wal_bytes as f64),
            full_page_images: of(|cost| cost.full_page_images as f64),
        }
    }
}

fn print_costs(operation: Operation, small: &PerMessage, years: &PerMessage) {
    let growth = years.cpu_ms / small.cpu_ms;
    println!(
        "years | {} | {:.3} → {:.3} | {growth:.2} | {:.1} → {:.1} | {:.2} | {:.2} → {:.2} | {:.0} → {:.0} | {} | \
         {:.2} → {:.2} |{}",
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
        small.full_page_images,
        years.full_page_images,
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
