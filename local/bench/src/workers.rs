//! CPU time of the workers and of Postgres, and rows per second compared with pgbench.

use crate::cluster::Database;
use crate::function::{Function, Series};
use crate::pgbench::Pgbench;
use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;

/// The number of rows per run.
const ROWS: u64 = 3_000;

/// Prints a line for each worker and batch size.
pub fn measure(world: &World, database: &Database<'_>, pgbench: &Pgbench, rounds: u64) {
    let mut series = 100;
    for size in [10, 100] {
        record_inbound(world, database, pgbench, size, rounds, &mut series);
    }
    record_status(world, database, rounds, &mut series);
}

fn record_inbound(
    world: &World,
    database: &Database<'_>,
    pgbench: &Pgbench,
    size: u64,
    rounds: u64,
    series: &mut u64,
) {
    let function = world.start("record-inbound", &database.url, Vec::new());
    let batches = |series: u64, rows: u64| {
        let batch = |first| {
            let webhooks: Vec<_> = (first..first + size)
                .map(|number| (traffic::inbound(series, number), String::new()))
                .collect();
            traffic::batch("inbound", &webhooks)
        };
        (0..rows).step_by(size as usize).map(batch).collect::<Vec<_>>()
    };
    let mut fresh = || {
        *series += 1;
        *series
    };
    // Create all conversations before the measurement.
    run(&function, batches(fresh(), traffic::HANDSETS));
    database.settle();
    let mut costs = Costs::default();
    let mut by_pgbench = Vec::new();
    for _ in 0..rounds {
        costs.add(database, || run(&function, batches(fresh(), ROWS)));
        by_pgbench.push(pgbench.rows_per_second(database, fresh(), ROWS, size));
    }
    let stored = database.number("select count(*) from sms_messages where direction = 'inbound'");
    println!("# {stored} inbound messages stored, {} conversations", traffic::HANDSETS);
    costs.print("record-inbound", size, rounds);
    // Ratios of adjacent runs, so that a temporarily slow machine affects both.
    let ratios: Vec<f64> =
        costs.rows_per_second.iter().zip(&by_pgbench).map(|(ours, theirs)| ours / theirs).collect();
    println!(
        "rows_per_second record-inbound batch={size} function={:.0} pgbench={:.0} ratio={:.2}",
        median(&costs.rows_per_second),
        median(&by_pgbench),
        median(&ratios)
    );
}

fn record_status(world: &World, database: &Database<'_>, rounds: u64, series: &mut u64) {
    const SIZE: u64 = 10;
    let function = world.start("record-status", &database.url, Vec::new());
    let mut costs = Costs::default();
    // The first run is the warm-up.
    for round in 0..=rounds {
        *series += 1;
        sent_messages(database, *series);
        database.settle();
        let batch = |first| {
            let callbacks: Vec<_> = (first..first + SIZE)
                .map(|number| (traffic::status(*series, number, "delivered"), String::new()))
                .collect();
            traffic::batch("status", &callbacks)
        };
        let batches: Vec<_> = (0..ROWS).step_by(SIZE as usize).map(batch).collect();
        if round == 0 {
            run(&function, batches);
        } else {
            costs.add(database, || run(&function, batches));
        }
    }
    let delivered = database.number("select count(*) from sms_messages where delivery_status = 'delivered'");
    assert_eq!(delivered as u64, (rounds + 1) * ROWS, "each callback must update its message");
    costs.print("record-status", SIZE, rounds);
}

/// Creates the messages for the callbacks.
fn sent_messages(database: &Database<'_>, series: u64) {
    database.execute(&format!(
        "insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number,
             message_content, delivery_status, created_at)
         select sms_new_id(), c.id, 'outbound', 'SM{series:016x}' || lpad(to_hex(n), 16, '0'), '+18605550100',
             c.phone_number_canonical, 'We are on our way', 'sent', now()
         from generate_series(0, {ROWS} - 1) n
         join (select id, phone_number_canonical, row_number() over () - 1 as position from sms_conversations) c
           on c.position = n"
    ));
}

fn run(function: &Function, batches: Vec<Vec<u8>>) -> Series {
    let series = function.run(batches);
    for invocation in &series.invocations {
        let body = String::from_utf8_lossy(&invocation.body);
        assert!(body.contains(r#""batchItemFailures":[]"#), "a batch failed: {body}");
    }
    series
}

/// The costs of runs of [`ROWS`] rows.
#[derive(Debug, Default)]
struct Costs {
    function: Vec<f64>,
    postgres: Vec<f64>,
    together: Vec<f64>,
    rows_per_second: Vec<f64>,
}

impl Costs {
    fn add(&mut self, database: &Database<'_>, run: impl FnOnce() -> Series) {
        let before = database.cluster.cpu();
        let series = run();
        let postgres = milliseconds(database.cluster.cpu() - before) / ROWS as f64;
        let function = milliseconds(series.cpu) / ROWS as f64;
        self.function.push(function);
        self.postgres.push(postgres);
        self.together.push(function + postgres);
        self.rows_per_second.push(ROWS as f64 / series.elapsed.as_secs_f64());
    }

    fn print(&self, name: &str, size: u64, rounds: u64) {
        println!(
            "cpu {name} batch={size} function_ms={:.3} postgres_ms={:.3} together_ms={:.3} runs={rounds}x{ROWS}",
            median(&self.function),
            median(&self.postgres),
            median(&self.together),
        );
    }
}
