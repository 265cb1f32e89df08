//! Runs the stack's own PostgreSQL server: finds the programs, creates the cluster once, starts and stops the server.

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

/// The name of the database and of its owner.
const DATABASE: &str = "sms";
/// How long a start may take, including recovery after a crash.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of attempts to start. Another process may take the free port before the server binds it.
const START_ATTEMPTS: u32 = 3;
/// How long a clean shutdown may take before the server is killed. It then recovers at the next start.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Error messages of a server whose data folder is in use by another server that is still shutting down.
const FOLDER_IN_USE: [&str; 3] =
    ["\"postmaster.pid\" already exists", "\"postmaster.pid\" is empty", "pre-existing shared memory block"];
/// The delay before the next attempt while another server is shutting down.
const FOLDER_IN_USE_DELAY: Duration = Duration::from_millis(200);
/// Keeps commit timestamps, so that the state at the time of a send can be determined later.
const COMMIT_TIMESTAMPS: &[&str] = &["track_commit_timestamp=on"];
/// Enough for all functions' processes at once, each with a few connections.
const MAX_CONNECTIONS: u32 = 400;

/// Why the database is not available.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server is installed.
    #[error(
        "PostgreSQL server not found (looked for initdb in PATH, /usr/lib/postgresql/*/bin or Homebrew's folders). \
         Install it (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql), or set DATABASE_URL"
    )]
    NotInstalled,
    /// The stack runs as root, and the user for the server does not exist.
    #[error(
        "PostgreSQL cannot run as root, and the user `{SERVER_USER}` does not exist: create it, or set DATABASE_URL"
    )]
    NoServerUser,
    /// A step failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// The step.
        step: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// One of PostgreSQL's programs failed.
    #[error("{program} failed:\n{output}")]
    Failed {
        /// The program.
        program: String,
        /// Its output.
        output: String,
    },
}

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    pid: u32,
    url: String,
    data: PathBuf,
}

/// An initialized cluster, with everything needed to start its server.
struct Cluster {
    binaries: PathBuf,
    user: Option<User>,
    data: PathBuf,
    password: String,
    log: PathBuf,
    options: &'static [&'static str],
}

impl Postgres {
    /// Starts the server on a free port of the loopback interface. Initializes the cluster at the first start.
    ///
    /// The data is stored in `folder`. If the server's user has no access to it, a folder in `/var/lib` is used
    /// instead.
    ///
    /// # Errors
    ///
    /// See [`PostgresError`]; the messages say how to fix the problem.
    pub async fn start(folder: &Path, log: &Path) -> Result<Self, PostgresError> {
        Self::start_with(folder, log, COMMIT_TIMESTAMPS).await
    }

    /// Starts a server for tests. Its data may be lost if the machine crashes.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub async fn start_for_tests(folder: &Path, log: &Path) -> Result<Self, PostgresError> {
        Self::start_with(folder, log, &["fsync=off", "synchronous_commit=off", "full_page_writes=off"]).await
    }

    /// Starts a server with other settings: `name=value`.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub async fn start_with(
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
            setup::initialize(&binaries, &data, &root.join("password"), user).await?;
        }
        stop_stale(&data).await;
        let cluster = Cluster { binaries, user, data, password, log: log.to_owned(), options };
        let (mut attempts_left, begun) = (START_ATTEMPTS, Instant::now());
        loop {
            match cluster.start().await {
                Err(PostgresError::Failed { output, .. })
                    if attempts_left > 1 && output.contains("Address already in use") =>
                {
                    attempts_left -= 1;
                }
                Err(PostgresError::Failed { output, .. })
                    if begun.elapsed() < STOP_TIMEOUT
                        && FOLDER_IN_USE.iter().any(|message| output.contains(message)) =>
                {
                    tokio::time::sleep(FOLDER_IN_USE_DELAY).await;
                    remove_empty_pid_file(&cluster.data);
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns the database URL, including the password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Shuts the server down.
    pub async fn stop(mut self) {
        children::signal_group(self.pid, Signal::INT);
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            children::kill_group(self.pid);
            // A killed process always exits.
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

/// Stops a server that an earlier stack has left running. Postgres itself handles a PID file without a server.
async fn stop_stale(data: &Path) {
    let Ok(file) = std::fs::read_to_string(data.join("postmaster.pid")) else { return };
    // The lines are: PID, data folder, start time, port.
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let [pid, folder, _, port, ..] = lines.as_slice() else { return };
    let (Ok(pid), Ok(port)) = (pid.parse(), port.parse::<u16>()) else { return };
    // A negative PID means that initdb is running; it does not listen.
    let pid = Some(pid).filter(|pid| *pid > 0 && Path::new(folder) == data);
    let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { return };
    // Another process may have the PID by now, so stop it only if a server listens on the port.
    if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        return;
    }
    let begun = Instant::now();
    while begun.elapsed() < STOP_TIMEOUT && rustix::process::kill_process(pid, Signal::INT).is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Removes an empty PID file, left by a server that was killed before it wrote its PID.
///
/// Postgres would forever treat it as a server that is starting. A starting server writes its PID immediately.
fn remove_empty_pid_file(data: &Path) {
    let pid_file = data.join("postmaster.pid");
    if std::fs::metadata(&pid_file).is_ok_and(|file| file.len() == 0) {
        let _ = std::fs::remove_file(pid_file);
    }
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port())
}
