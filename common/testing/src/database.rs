//! A database per test, cloned from one that has been migrated.

use common::config::Env;
use common::db::{DatabaseConfig, Db, migrations};
use tokio_postgres::{Client, NoTls};

/// The server that tests may make databases on. `make test` sets it.
const VARIABLE: &str = "TEST_DATABASE_URL";

/// A migrated database of a test's own, dropped with it.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    /// A client for the test's own questions.
    pub client: Client,
}

impl Database {
    /// Makes a database.
    ///
    /// # Panics
    ///
    /// When there is no server to make it on.
    pub async fn create() -> Self {
        let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} is not set: run `make test`, or point it at a PostgreSQL server")
        });
        let admin = connect(&server).await;
        let template = template(&server, &admin).await;
        let name = format!("test_{}", unique());
        // Cloning fails while somebody else looks at the template, so clones are made one at a time.
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

    /// Returns the database as the functions see it.
    #[must_use]
    pub fn db(&self) -> Db {
        patient(&self.url())
    }

    /// Runs SQL of the test's own and returns the first column of the first row as text.
    ///
    /// # Panics
    ///
    /// When the statement fails or returns nothing.
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
        // A thread of its own, since the test's runtime may be the thing that is being dropped.
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
    // Other migrations make another template, so that an old server can serve new tests.
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
        let db = patient(&database_url(server, &draft));
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

/// The database at a URL, which may take its time: what is not about waiting must not fail for the machine's being busy.
fn patient(url: &str) -> Db {
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        "DATABASE_CONNECT_TIMEOUT_MS" | "DATABASE_STATEMENT_TIMEOUT_MS" => Some("60000".to_owned()),
        _ => None,
    };
    Db::new(&DatabaseConfig::from_env(&mut Env::new(&lookup)).unwrap()).unwrap()
}

/// Opens a connection of a test's own.
///
/// # Panics
///
/// When the server does not answer.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the test database server answers");
    tokio::spawn(connection);
    client
}

/// Puts another database's name into a URL.
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
