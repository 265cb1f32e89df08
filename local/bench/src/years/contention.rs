//! Latency of operations while a table is vacuumed and while months are dropped.

use super::generator::Plan;
use super::load::MONTHS;
use super::operations::{Operation, Worker};
use super::server::Server;
use crate::statistics::{milliseconds, percentile};
use common::db::{LockWaits, partitions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// The operations of the API, in turn, and the webhooks' traffic.
const OPERATIONS: [Operation; 4] =
    [Operation::Page, Operation::Create, Operation::Message, Operation::InboundBatch];
/// The number of clients.
const CLIENTS: u64 = 2;
/// The first operations of a client, which connect and plan, are not measured.
const WARM_UP: usize = 40;
/// The pause of a client between two operations, so that the machine is not saturated.
const PAUSE: Duration = Duration::from_millis(5);
/// The length of a phase without other work, and the maximum of the others.
const PHASE: Duration = Duration::from_secs(15);
const MAX_PHASE: Duration = Duration::from_secs(90);
/// The number of months to drop.
const DROPPED_MONTHS: i32 = 6;
/// The time from one drop to the next. Each blocks writers for some 30 ms; in production there are three a month.
const DROP_INTERVAL: Duration = Duration::from_secs(5);

/// Prints the latencies of each phase.
pub async fn measure(server: &Server, database: &str, plan: Plan) {
    let client = server.connect(Some(database)).await;
    let before = phase(server, database, plan, 1, tokio::time::sleep(PHASE)).await;
    before.print("without other work", &before);
    let vacuum = phase(server, database, plan, 2, vacuum(&client)).await;
    vacuum.print("vacuum of sms_messages", &before);
    let dropping = phase(server, database, plan, 3, drop_months(server, database)).await;
    dropping.print("months are dropped", &before);
}

/// Vacuums every page, as a vacuum against wraparound does, with the pauses of autovacuum.
async fn vacuum(client: &Client) {
    client.batch_execute("set vacuum_cost_delay = '2ms'").await.expect("a setting");
    let statement = "vacuum (freeze, disable_page_skipping) sms_messages";
    let begun = Instant::now();
    while begun.elapsed() < PHASE {
        if let Ok(result) = tokio::time::timeout(MAX_PHASE, client.batch_execute(statement)).await {
            result.expect(statement);
        }
    }
}

/// Drops the oldest months of all partitioned tables, a partition every [`DROP_INTERVAL`].
async fn drop_months(server: &Server, database: &str) {
    let db = server.db(database);
    let mut months = partitions::list(&db).await.expect("partitions");
    months.retain(|partition| partition.month().is_some());
    months.sort_by_key(partitions::Partition::month);
    let oldest = months.len().saturating_sub((MONTHS - DROPPED_MONTHS) as usize * partitions::TABLES.len());
    months.truncate(oldest.min(DROPPED_MONTHS as usize * partitions::TABLES.len()));
    let (mut took, bytes) = (Vec::new(), months.iter().map(|month| month.bytes).sum::<i64>());
    for month in &months {
        let begun = Instant::now();
        partitions::drop(&db, month, LockWaits::default()).await.expect("a dropped month");
        took.push(milliseconds(begun.elapsed()));
        tokio::time::sleep(DROP_INTERVAL.saturating_sub(begun.elapsed())).await;
    }
    println!(
        "years dropped partitions={} megabytes={} drop_p50_ms={:.1} drop_max_ms={:.1}",
        months.len(),
        bytes / 1_000_000,
        percentile(&took, 50.0),
        percentile(&took, 100.0),
    );
}

/// Runs operations until the other work has ended.
async fn phase(
    server: &Server,
    database: &str,
    plan: Plan,
    seed: u64,
    work: impl Future<Output = ()>,
) -> Latencies {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let worker = Worker::new(server.db(database), plan, 1_000 * seed + number);
        clients.spawn(run(worker, number as usize, Arc::clone(&is_over)));
    }
    let begun = Instant::now();
    work.await;
    let seconds = begun.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    let took = clients.join_all().await.concat();
    Latencies { took, seconds }
}

async fn run(mut worker: Worker, first: usize, is_over: Arc<AtomicBool>) -> Vec<f64> {
    let mut took = Vec::new();
    for number in first.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        worker.call(OPERATIONS[number % OPERATIONS.len()]).await;
        took.push(milliseconds(begun.elapsed()));
        tokio::time::sleep(PAUSE).await;
    }
    took.split_off(WARM_UP.min(took.len()))
}

/// How long the operations of a phase took, in milliseconds.
#[derive(Debug)]
struct Latencies {
    took: Vec<f64>,
    seconds: f64,
}

impl Latencies {
    fn print(&self, phase: &str, before: &Self) {
        let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| percentile(&self.took, percent));
        println!(
            "years latency phase=\"{phase}\" seconds={:.0} operations={} p50_ms={p50:.2} p99_ms={p99:.2} \
             max_ms={max:.1} p99_ratio={:.2}",
            self.seconds,
            self.took.len(),
            p99 / percentile(&before.took, 99.0),
        );
    }
}
