//! Loads two years of traffic with `COPY`: without indexes on random keys, which are created afterwards.

use super::generator::{Generator, Plan, Tables};
use super::rows::{Copied, Sink, copy};
use super::server::Server;
use common::db::{LockWaits, partitions};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// Tables whose keys are random. Their indexes are created after the load.
const RANDOM_KEYS: &str = "array['sms_message_sids', 'sms_callbacks']::regclass[]";
/// How many batches of rows wait for a connection.
const WAITING: usize = 8;
/// The months of the traffic.
pub const MONTHS: i32 = 24;

/// Loads the traffic into a migrated database.
pub async fn load(server: &Server, database: &str, plan: Plan) {
    let begun = Instant::now();
    let months = MONTHS.unsigned_abs() + partitions::MONTHS_AHEAD;
    let created = partitions::ensure(&server.db(database), plan.since, months, LockWaits::default()).await;
    created.expect("partitions");
    let client = server.connect(Some(database)).await;
    let statements = drop_indexes(&client).await;
    let rows = copy_all(server, database, plan, sid_prefix(&client).await).await;
    println!(
        "years loaded messages={} rows={rows} seconds={:.0}",
        plan.messages,
        begun.elapsed().as_secs_f64()
    );
    let last_position = "update sms_event_counter
        set last_position = coalesce((select max(position) from sms_events), 0)";
    client.batch_execute(last_position).await.expect(last_position);
    for statement in &statements {
        client.batch_execute(statement).await.expect(statement);
    }
    println!("years indexed statements={} seconds={:.0}", statements.len(), begun.elapsed().as_secs_f64());
    client.batch_execute("vacuum (freeze, analyze)").await.expect("a vacuum");
    client.batch_execute("checkpoint").await.expect("a checkpoint");
    println!("years vacuumed seconds={:.0}", begun.elapsed().as_secs_f64());
}

/// Returns the first byte of a packed SID that begins with `SM`.
async fn sid_prefix(client: &Client) -> u8 {
    let row = client.query_one("select sms_pack_sid('SM' || repeat('ab', 16))", &[]).await.expect("a SID");
    let packed: Vec<u8> = row.get(0);
    let (prefix, number) = packed.split_first().expect("17 bytes");
    assert_eq!(number, [0xab; 16], "a SID is packed as a prefix and a number");
    *prefix
}

/// Drops foreign keys, the keys of [`RANDOM_KEYS`], and indexes without a constraint. Returns the statements that
/// create them again, foreign keys last.
async fn drop_indexes(client: &Client) -> Vec<String> {
    let constraints = client
        .query(
            &format!(
                "select format('alter table %s drop constraint %I', conrelid::regclass, conname),
                     format('alter table %s add constraint %I %s', conrelid::regclass, conname,
                            pg_get_constraintdef(oid))
                 from pg_constraint
                 where connamespace = 'public'::regnamespace and conparentid = 0
                   and (contype = 'f' or contype in ('p', 'u') and conrelid = any({RANDOM_KEYS}))
                 order by contype = 'f', conrelid::regclass::text, conname"
            ),
            &[],
        )
        .await
        .expect("constraints");
    let indexes = client
        .query(
            "select format('drop index %s', indexrelid::regclass),
                 replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')
             from pg_index join pg_class c on c.oid = indexrelid
             where c.relnamespace = 'public'::regnamespace and not c.relispartition
               and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u', 'x'))
             order by indrelid::regclass::text, indexrelid::regclass::text",
            &[],
        )
        .await
        .expect("indexes");
    let (foreign, keys): (Vec<_>, Vec<_>) = constraints
        .iter()
        .map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)))
        .partition(|(_, create)| create.contains(" FOREIGN KEY "));
    let indexes = indexes.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    // A foreign key depends on the index of the key.
    for (drop, _) in foreign.iter().chain(&keys) {
        client.batch_execute(drop).await.expect(drop);
    }
    let mut create: Vec<String> = keys.into_iter().map(|(_, create)| create).collect();
    for (drop, recreate) in indexes {
        client.batch_execute(&drop).await.expect(&drop);
        create.push(recreate);
    }
    create.extend(foreign.into_iter().map(|(_, create)| create));
    create
}

/// Copies all tables at once, each on its own connection. Returns the number of rows.
async fn copy_all(server: &Server, database: &str, plan: Plan, sid_prefix: u8) -> u64 {
    let mut copies = JoinSet::new();
    let tables = Tables {
        conversations: sink(server, database, &mut copies).await,
        tenants: sink(server, database, &mut copies).await,
        tenant_numbers: sink(server, database, &mut copies).await,
        messages: sink(server, database, &mut copies).await,
        payloads: sink(server, database, &mut copies).await,
        sids: sink(server, database, &mut copies).await,
        attempts: sink(server, database, &mut copies).await,
        status_events: sink(server, database, &mut copies).await,
        callbacks: sink(server, database, &mut copies).await,
        events: sink(server, database, &mut copies).await,
        sequences: sink(server, database, &mut copies).await,
    };
    let generator = Generator::new(plan, tables, sid_prefix);
    let generating = tokio::task::spawn_blocking(move || generator.run());
    let rows = copies.join_all().await.into_iter().sum();
    generating.await.expect("the generator");
    rows
}

async fn sink<T: Copied>(server: &Server, database: &str, copies: &mut JoinSet<u64>) -> Sink<T> {
    let (sender, receiver) = mpsc::channel(WAITING);
    copies.spawn(copy(server.connect(Some(database)).await, receiver));
    Sink::new(sender)
}
