//! A PostgreSQL server of the stack's own: found, set up once, started, and never left behind.

mod setup;

pub use setup::remove_data;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::children::{self, OnOrphaned};
use setup::{SERVER_USER, User};

/// The owner of the cluster and of the database, both of this name.
const DATABASE: &str = "sms";
/// How long a start may take, recovery after a kill included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a start is tried: between the choice of a free port and the server's bind somebody may take it.
const START_TRIES: u32 = 3;
/// How long a clean shutdown may take before the server is killed: it recovers at the next start.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// What a server says of another one in its folder: one of an interrupted start, which is on its way out.
const LEAVING: [&str; 3] =
    ["\"postmaster.pid\" already exists", "\"postmaster.pid\" is empty", "pre-existing shared memory block"];
/// How long it is given before the next try.
const LEAVING_PAUSE: Duration = Duration::from_millis(200);
/// Commit times are kept: whoever looks for what was true when a message went out finds it there.
const KEPT_TIMES: &[&str] = &["track_commit_timestamp=on"];
/// Every function's processes may be up at once, each with a connection or a few.
const MAX_CONNECTIONS: u32 = 400;

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server is installed.
    #[error(
        "no PostgreSQL server was found (initdb in PATH, /usr/lib/postgresql/*/bin or Homebrew's folders). Install \
         one (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql), or set DATABASE_URL"
    )]
    NotInstalled,
    /// Root without a user for the server.
    #[error(
        "PostgreSQL does not run as root, and there is no user `{SERVER_USER}` to run it as: create one, or set DATABASE_URL"
    )]
    NoServerUser,
    /// A step failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed:\n{output}")]
    Failed {
        /// The program.
        program: String,
        /// What it printed.
        output: String,
    },
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    pid: u32,
    url: String,
    data: PathBuf,
}

/// A cluster that is set up, and what it takes to start its server.
struct Cluster {
    binaries: PathBuf,
    user: Option<User>,
    data: PathBuf,
    password: String,
    log: PathBuf,
    options: &'static [&'static str],
}

impl Postgres {
    /// Sets up a cluster at the first start, and starts its server on a free port of the loopback interface.
    ///
    /// The data are in `folder`; or, if the server's user cannot go there, in a folder of `/var/lib` named after it.
    ///
    /// # Errors
    ///
    /// As [`PostgresError`] says, in words for the person who typed the command.
    pub async fn start(folder: &Path, log: &Path) -> Result<Self, PostgresError> {
        Self::start_with(folder, log, KEPT_TIMES).await
    }

    /// Starts a server whose data need not survive a crash of the machine, as tests want it.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub async fn start_for_tests(folder: &Path, log: &Path) -> Result<Self, PostgresError> {
        Self::start_with(folder, log, &["fsync=off", "synchronous_commit=off", "full_page_writes=off"]).await
    }

    async fn start_with(
        folder: &Path,
        log: &Path,
        options: &'static [&'static str],
    ) -> Result<Self, PostgresError> {
        let binaries = setup::find_binaries().ok_or(PostgresError::NotInstalled)?;
        let user = setup::server_user()?;
        let root = setup::data_root(folder, user).await?;
        let data = root.join("data");
        let password = setup::password(&root, user)?;
        if !data.exists() {
            setup::initialise(&binaries, &data, &root.join("password"), user).await?;
        }
        stop_stale(&data).await;
        let cluster = Cluster { binaries, user, data, password, log: log.to_owned(), options };
        let (mut tries, begun) = (START_TRIES, Instant::now());
        loop {
            match cluster.start().await {
                Err(PostgresError::Failed { output, .. })
                    if tries > 1 && output.contains("Address already in use") =>
                {
                    tries -= 1;
                }
                Err(PostgresError::Failed { output, .. })
                    if begun.elapsed() < STOP_TIMEOUT && LEAVING.iter().any(|sign| output.contains(sign)) =>
                {
                    tokio::time::sleep(LEAVING_PAUSE).await;
                    remove_empty_lock(&cluster.data);
                }
                outcome => return outcome,
            }
        }
    }

    /// The database's URL, password included.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the data are.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Shuts the server down.
    pub async fn stop(mut self) {
        children::signal_group(self.pid, Signal::INT);
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            children::kill_group(self.pid);
            // Killed: there is nothing left to wait for but the exit itself.
            let _ = self.child.wait().await;
        }
    }
}

impl Cluster {
    async fn start(&self) -> Result<Postgres, PostgresError> {
        let port = free_port().await.map_err(io("find a free port"))?;
        let log = std::fs::File::create(&self.log).map_err(io(&format!("write {}", self.log.display())))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", &format!("port={port}"), "-c", &format!("max_connections={MAX_CONNECTIONS}")])
            .args(self.options.iter().flat_map(|option| ["-c", option]))
            .stdout(Stdio::from(log.try_clone().map_err(io("share the log"))?))
            .stderr(Stdio::from(log));
        children::tie(&mut command, OnOrphaned::Interrupt);
        let mut child = command.spawn().map_err(io("start postgres"))?;
        let pid = child.id().unwrap_or_default();
        self.wait_until_ready(&mut child, port).await?;
        self.create_database(port).await?;
        let url =
            format!("postgres://{DATABASE}:{}@127.0.0.1:{port}/{DATABASE}?sslmode=disable", self.password);
        Ok(Postgres { child, pid, url, data: self.data.clone() })
    }

    async fn wait_until_ready(&self, child: &mut Child, port: u16) -> Result<(), PostgresError> {
        let begun = Instant::now();
        let port = port.to_string();
        while begun.elapsed() < START_TIMEOUT {
            if child.try_wait().map_err(io("watch postgres"))?.is_some() {
                break;
            }
            let mut ready = self.command("pg_isready");
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port, "-d", "template1"]);
            if ready.status().await.map_err(io("run pg_isready"))?.success() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let output = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(PostgresError::Failed { program: "postgres".to_owned(), output })
    }

    async fn create_database(&self, port: u16) -> Result<(), PostgresError> {
        let mut create = self.command("createdb");
        create.env("PGPASSWORD", &self.password);
        create.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", DATABASE, "--no-password", DATABASE]);
        let output = create.output().await.map_err(io("run createdb"))?;
        if output.status.success() || String::from_utf8_lossy(&output.stderr).contains("already exists") {
            return Ok(());
        }
        Err(failed("createdb", &output))
    }

    fn command(&self, program: &str) -> Command {
        setup::command(&self.binaries, program, self.user)
    }
}

fn io(step: &str) -> impl FnOnce(std::io::Error) -> PostgresError {
    let step = step.to_owned();
    move |source| PostgresError::Io { step, source }
}

fn failed(program: &str, output: &Output) -> PostgresError {
    let output = [&output.stdout[..], &output.stderr[..]].concat();
    PostgresError::Failed {
        program: program.to_owned(),
        output: String::from_utf8_lossy(&output).into_owned(),
    }
}

/// Ends a server that an earlier stack could not take with it. A pid file whose server is gone is Postgres's own to
/// recognise.
async fn stop_stale(data: &Path) {
    let Ok(file) = std::fs::read_to_string(data.join("postmaster.pid")) else { return };
    // Its lines: pid, data folder, start time, port.
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let [pid, folder, _, port, ..] = lines.as_slice() else { return };
    let (Ok(pid), Ok(port)) = (pid.parse(), port.parse::<u16>()) else { return };
    // One that is being set up has its number negated, and listens nowhere.
    let pid = Some(pid).filter(|pid| *pid > 0 && Path::new(folder) == data);
    let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { return };
    // Another process may have the number by now: only a listening server is stopped.
    if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        return;
    }
    let begun = Instant::now();
    while begun.elapsed() < STOP_TIMEOUT && rustix::process::kill_process(pid, Signal::INT).is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Removes the pid file of a server that was killed before it wrote its number there: Postgres takes it for one that is
/// just starting, for ever. One that is writes the number at once.
fn remove_empty_lock(data: &Path) {
    let lock = data.join("postmaster.pid");
    if std::fs::metadata(&lock).is_ok_and(|lock| lock.len() == 0) {
        let _ = std::fs::remove_file(lock);
    }
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port())
}
