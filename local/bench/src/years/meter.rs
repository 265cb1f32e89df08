//! What an operation costs in Postgres: CPU time of its backend, buffers and WAL.

use crate::processes;
use common::db::{Db, Statement};
use std::time::Duration;
use tokio_postgres::Client;

/// Makes the backend report its statistics now, instead of at most once per second.
const FLUSH: Statement<()> = Statement::new("report statistics", "select from pg_stat_force_next_flush()");

/// The costs of some operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub cpu: Duration,
    /// Buffers that were in `shared_buffers`.
    pub hits: i64,
    /// Buffers that were not.
    pub reads: i64,
    pub wal_bytes: i64,
}

/// Measures the only pool of a database.
#[derive(Debug)]
pub struct Meter<'a> {
    db: Db,
    database: &'static str,
    /// A connection to another database, whose buffers are not counted.
    observer: &'a Client,
}

impl<'a> Meter<'a> {
    pub fn new(db: Db, database: &'static str, observer: &'a Client) -> Self {
        Self { db, database, observer }
    }

    /// Returns the totals so far.
    pub async fn read(&self) -> Cost {
        db_flush(&self.db).await;
        let pids =
            "select pid from pg_stat_activity where datname = $1 and application_name = 'sms-foundation'";
        let pids = self.observer.query(pids, &[&self.database]).await.expect("backends");
        let cpu = pids.iter().map(|row| processes::cpu_of(row.get::<_, i32>(0) as u32)).sum();
        let counters = "select blks_hit, blks_read, wal_bytes::int8 \
                        from pg_stat_database, pg_stat_wal where datname = $1";
        let row = self.observer.query_one(counters, &[&self.database]).await.expect("statistics");
        Cost { cpu, hits: row.get(0), reads: row.get(1), wal_bytes: row.get(2) }
    }
}

async fn db_flush(db: &Db) {
    db.query(&FLUSH, &[]).await.expect("the database");
}

impl Cost {
    /// Returns the costs since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            hits: self.hits - before.hits,
            reads: self.reads - before.reads,
            wal_bytes: self.wal_bytes - before.wal_bytes,
        }
    }
}
