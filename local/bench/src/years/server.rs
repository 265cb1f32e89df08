//! A PostgreSQL server that is loaded without durability and then measured with `shared_buffers` of 128 MB.

use common::db::{DatabaseConfig, Db, migrations};
use local::postgres::Postgres;
use std::path::{Path, PathBuf};
use tokio_postgres::{Client, NoTls};

/// Settings for the load: rows of new tables are not logged, and nothing waits for the disk.
const LOADING: &[&str] = &[
    "wal_level=minimal",
    "max_wal_senders=0",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "maintenance_work_mem=512MB",
    "autovacuum=off",
    "track_commit_timestamp=on",
];

/// Settings for the measurement: the defaults, except that no checkpoint and no autovacuum happens in between.
const MEASURING: &[&str] = &[
    "shared_buffers=128MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "autovacuum=off",
    "track_commit_timestamp=on",
];

/// A running server.
#[derive(Debug)]
pub struct Server {
    postgres: Postgres,
    folder: PathBuf,
}

impl Server {
    /// Starts a new server with settings for the load.
    pub async fn start(folder: &Path) -> Self {
        let folder = folder.join("years");
        Self { postgres: start(&folder, LOADING).await, folder }
    }

    /// Restarts the server with settings for the measurement.
    pub async fn restart(self) -> Self {
        self.postgres.stop().await;
        // What the load has written must not be written during the measurement.
        rustix::fs::sync();
        Self { postgres: start(&self.folder, MEASURING).await, folder: self.folder }
    }

    /// Stops the server and removes its data.
    pub async fn remove(self) {
        self.postgres.stop().await;
        if let Err(error) = local::postgres::remove_data(&self.folder) {
            eprintln!("could not remove the server's data: {error}");
        }
    }

    /// Returns how many bytes are free on the disk of its data.
    pub fn free_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.postgres.data()).expect("the server's disk");
        disk.f_bavail * disk.f_frsize
    }

    /// Creates a migrated database.
    pub async fn create(&self, name: &str) {
        self.connect(None).await.batch_execute(&format!("create database {name}")).await.expect(name);
        migrations::migrate(&self.db(name)).await.expect("migrations");
    }

    /// Returns a pool as the functions have it.
    pub fn db(&self, name: &str) -> Db {
        Db::new(&DatabaseConfig::for_url(&self.url(Some(name)))).expect("a valid URL")
    }

    /// Connects without a pool, to the server's first database by default.
    pub async fn connect(&self, name: Option<&str>) -> Client {
        let connected = tokio_postgres::connect(&self.url(name), NoTls).await;
        let (client, connection) = connected.expect("a connection to the server");
        tokio::spawn(connection);
        client
    }

    fn url(&self, name: Option<&str>) -> String {
        let url = self.postgres.url();
        name.map_or_else(|| url.to_owned(), |name| url.replace("/sms?", &format!("/{name}?")))
    }
}

async fn start(folder: &Path, options: &'static [&'static str]) -> Postgres {
    let log = folder.with_extension("log");
    Postgres::start_with(folder, &log, options).await.unwrap_or_else(|error| panic!("{error}"))
}
