//! pgbouncer in transaction mode in front of a database, as Supabase and others use it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_postgres::{NoTls, SimpleQueryMessage};
use url::Url;

use crate::stack::eventually;

/// The number of Postgres sessions that all clients share.
pub const SESSIONS: usize = 6;

/// A running pgbouncer process.
pub struct Pooler {
    process: Child,
    url: Url,
    _folder: TempDir,
}

impl Pooler {
    /// Starts pgbouncer in front of the database at `target`.
    ///
    /// Returns `None` and reports `test` as skipped if pgbouncer is not installed.
    pub async fn start(target: &str, test: &str) -> Option<Self> {
        let Some(program) = program() else {
            testing::skipped(test, "pgbouncer is not installed");
            return None;
        };
        let target = Url::parse(target).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = TempDir::with_prefix("sms-flow-").unwrap();
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nsms = host=127.0.0.1 port={} dbname=sms user={} password={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             admin_users = sms\npool_mode = transaction\ndefault_pool_size = {SESSIONS}\nmax_client_conn = 400\n",
            target.port().unwrap(),
            target.username(),
            target.password().unwrap_or_default(),
        );
        fs::write(&settings, text).unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), everyone).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg(&settings).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if rustix::process::geteuid().is_root() {
            // pgbouncer refuses to run as root.
            command.uid(id_of("postgres", "-u")).gid(id_of("postgres", "-g"));
        }
        let process = command.spawn().unwrap();
        let url = Url::parse(&format!("postgres://sms:any@127.0.0.1:{port}/sms?sslmode=disable")).unwrap();
        let pooler = Self { process, url, _folder: folder };
        eventually("the pooler accepts connections", async || {
            tokio_postgres::connect(pooler.url.as_str(), NoTls).await.ok().map(drop)
        })
        .await;
        Some(pooler)
    }

    /// Returns the value for `DATABASE_URL`.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns the number of connected clients.
    pub async fn clients(&self) -> usize {
        let mut console = self.url.clone();
        console.set_path("/pgbouncer");
        let (client, connection) = tokio_postgres::connect(console.as_str(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let rows = client.simple_query("show clients").await.unwrap();
        let of_the_database = |row: &&SimpleQueryMessage| match row {
            SimpleQueryMessage::Row(row) => row.get("database") == Some("sms"),
            _ => false,
        };
        rows.iter().filter(of_the_database).count()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Finds pgbouncer in `PATH` or in `/usr/sbin`, where Debian installs it.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut found = places.map(|place| place.join("pgbouncer")).filter(|program| program.exists());
    found.next()
}

fn id_of(user: &str, flag: &str) -> u32 {
    let output = Command::new("id").args([flag, user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
