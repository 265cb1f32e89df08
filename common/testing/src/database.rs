//! A database per test, cloned from a migrated template.

use common::config::Env;
use common::db::{DatabaseConfig, Db, migrations};
use tokio_postgres::{Client, NoTls};

/// URL of the server on which tests create databases. `make test` sets it.
const VARIABLE: &str = "TEST_DATABASE_URL";

/// A migrated database for one test. It is deleted when this value is dropped.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    /// A client for queries of the test.
    pub client: Client,
}

impl Database {
    /// Creates a database.
    ///
    /// # Panics
    ///
    /// If the server is not configured or not reachable.
    pub async fn create() -> Self {
        let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} is not set: run `make test`, or point it at a PostgreSQL server")
        });
        let admin = connect(&server).await;
        let template = template(&server, &admin).await;
        let name = format!("test_{}", unique());
        // Cloning fails while another session uses the template, so the lock allows one clone at a time.
        admin.batch_execute("select pg_advisory_lock(7673798)").await.unwrap();
        admin.batch_execute(&format!("create database {name} template {template}")).await.unwrap();
        let client = connect(&database_url(&server, &name)).await;
        Self { server, name, client }
    }

    /// Returns the database's URL.
    #[must_use]
    pub fn url(&self) -> String {
        database_url(&self.server, &self.name)
    }

    /// Returns the database with the functions' client.
    #[must_use]
    pub fn db(&self) -> Db {
        with_long_timeouts(&self.url())
    }

    /// Gives positions to all committed events, so that a query of `sms_events` sees them.
    ///
    /// # Panics
    ///
    /// If the statement fails.
    pub async fn number_events(&self) {
        while common::db::events::number(&self.db()).await.unwrap().has_more {}
    }

    /// Runs SQL and returns the first column of the first row as text.
    ///
    /// # Panics
    ///
    /// If the statement fails or returns no row.
    pub async fn scalar(&self, sql: &str) -> String {
        let rows = self.client.simple_query(sql).await.expect(sql);
        let row = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.expect("a row").get(0).unwrap_or("null").to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // In a new thread and runtime, because the test's runtime may be shutting down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = connect(&server).await;
                let _ = admin.batch_execute(&format!("drop database if exists {name} with (force)")).await;
            });
        });
        let _ = dropped.join();
    }
}

async fn template(server: &str, admin: &Client) -> String {
    // The name depends on the migrations, so that a server can be used after they change.
    let name = format!("sms_template_{}", migrations::fingerprint());
    admin.batch_execute("select pg_advisory_lock(7673799)").await.unwrap();
    let known = admin
        .query_one("select exists (select from pg_database where datname = $1)", &[&name])
        .await
        .unwrap()
        .get::<_, bool>(0);
    if !known {
        let draft = format!("draft_{}", unique());
        admin.batch_execute(&format!("create database {draft}")).await.unwrap();
        let db = with_long_timeouts(&database_url(server, &draft));
        migrations::migrate(&db).await.unwrap();
        drop(db);
        let alone =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{draft}'");
        admin.batch_execute(&alone).await.unwrap();
        super::eventually("renaming the template", async || {
            admin.batch_execute(&format!("alter database {draft} rename to {name}")).await.ok()
        })
        .await;
    }
    admin.batch_execute("select pg_advisory_unlock(7673799)").await.unwrap();
    name
}

/// Connects with long timeouts, so that tests do not fail on a busy machine.
fn with_long_timeouts(url: &str) -> Db {
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        "DATABASE_CONNECT_TIMEOUT_MS" | "DATABASE_STATEMENT_TIMEOUT_MS" => Some("60000".to_owned()),
        _ => None,
    };
    Db::new(&DatabaseConfig::from_env(&mut Env::new(&lookup)).unwrap()).unwrap()
}

/// Opens a connection.
///
/// # Panics
///
/// If the server is not reachable.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("cannot connect to the test database server");
    tokio::spawn(connection);
    client
}

/// Replaces the database name in a URL.
fn database_url(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, None), |(base, query)| (base, Some(query)));
    let (authority, _) = base.rsplit_once('/').expect("a URL with a database");
    match query {
        Some(query) => format!("{authority}/{name}?{query}"),
        None => format!("{authority}/{name}"),
    }
}

fn unique() -> String {
    common::clock::new_id().simple().to_string()
}
