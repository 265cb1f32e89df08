//! A PostgreSQL cluster with default settings, except that it tracks commit timestamps, like the local stack.

use crate::processes;
use common::db::{DatabaseConfig, Db, migrations};
use local::postgres::Postgres;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// A running cluster.
pub struct Cluster {
    runtime: Runtime,
    postgres: Option<Postgres>,
    folder: PathBuf,
    postmaster: u32,
    url: String,
}

impl Cluster {
    /// Starts a cluster in `folder`.
    pub fn start(folder: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let data = folder.join("postgres");
        let postgres = runtime
            .block_on(Postgres::start(&data, &folder.join("postgres.log")))
            .unwrap_or_else(|error| panic!("{error}"));
        let pid_file =
            std::fs::read_to_string(postgres.data().join("postmaster.pid")).expect("a running server");
        let postmaster =
            pid_file.lines().next().and_then(|pid| pid.trim().parse().ok()).expect("the server's PID");
        let url = postgres.url().to_owned();
        Self { runtime, postgres: Some(postgres), folder: data, postmaster, url }
    }

    /// Creates a migrated database.
    pub fn database(&self, name: &str) -> Database<'_> {
        self.runtime.block_on(async {
            let admin = connect(&self.url).await;
            admin.batch_execute(&format!("create database {name}")).await.unwrap();
        });
        let url = self.url.replace("/sms?", &format!("/{name}?"));
        let client = self.runtime.block_on(async {
            migrations::migrate(&Db::new(&DatabaseConfig::for_url(&url)).unwrap()).await.unwrap();
            connect(&url).await
        });
        Database { cluster: self, url, client }
    }

    /// Returns the server's version.
    pub fn version(&self) -> String {
        let row = self.runtime.block_on(async {
            let client = connect(&self.url).await;
            client.query_one("show server_version", &[]).await
        });
        row.expect("a server").get(0)
    }

    /// Returns the CPU time of all of the server's processes.
    pub fn cpu(&self) -> Duration {
        processes::cpu_of_family(self.postmaster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(postgres) = self.postgres.take() {
            self.runtime.block_on(postgres.stop());
            // If this runs as root, the data may be outside the temporary folder.
            if let Err(error) = local::postgres::remove_data(&self.folder) {
                eprintln!("could not remove the server's data: {error}");
            }
        }
    }
}

/// A database of the cluster.
pub struct Database<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The database URL.
    pub url: String,
    client: Client,
}

impl Database<'_> {
    /// Runs a script.
    pub fn execute(&self, sql: &str) {
        self.cluster.runtime.block_on(self.client.batch_execute(sql)).expect(sql);
    }

    /// Returns the first column of the only row.
    pub fn number(&self, sql: &str) -> i64 {
        self.cluster.runtime.block_on(self.client.query_one(sql, &[])).expect(sql).get(0)
    }

    /// Returns the first column of all rows.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.cluster.runtime.block_on(self.client.query(sql, &[])).expect(sql);
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs the server's background work now, so that it does not affect the measurement.
    pub fn settle(&self) {
        self.execute("vacuum analyze");
        self.execute("checkpoint");
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection to the server");
    tokio::spawn(connection);
    client
}
