//! The whole stack with release binaries.

use local::stack::StackInfo;
use rustix::process::{Pid, Signal};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// Deadline of every condition.
pub const DEADLINE: Duration = Duration::from_secs(1_200);

/// A stack in a temporary folder. Dropping it stops the stack.
pub struct Stack {
    process: Child,
    folder: tempfile::TempDir,
    /// Its URLs and credentials.
    pub info: StackInfo,
    /// A client for its HTTP servers.
    pub client: reqwest::Client,
}

impl Stack {
    /// Starts a stack with these environment variables. If `binaries` has no `local`, it uses the one next to this
    /// program, which may be a debug build.
    pub async fn start(binaries: &Path, template: &Path, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::TempDir::with_prefix("sms-bench-").unwrap();
        // If this runs as root, the database server's user needs access.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everyone).unwrap();
        std::fs::copy(template, folder.path().join("template.yaml")).unwrap();
        let built = binaries.join("local");
        let own =
            if built.exists() { built } else { std::env::current_exe().unwrap().with_file_name("local") };
        let command = folder.path().join("local");
        std::fs::copy(&own, &command).unwrap_or_else(|error| panic!("{}: {error}", own.display()));
        for binary in std::fs::read_dir(binaries).unwrap().flatten() {
            if binary.file_name() != "local" {
                symlink(binary.path(), folder.path().join(binary.file_name())).unwrap();
            }
        }
        let process = Command::new(&command)
            .arg("run")
            .current_dir(folder.path())
            .envs([("SMS_PORT", "0"), ("SMS_TWILIO_PORT", "0"), ("SMS_MONITOR_PORT", "0")])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let data = folder.path().join("target/local");
        let info = loop_until("the stack is ready", async || StackInfo::read(&data).ok()).await;
        Self { process, folder, info, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Connects to its database.
    pub async fn database(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.info.database_url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
        let _ = local::postgres::remove_data(&self.folder.path().join("target/local/postgres"));
    }
}

/// Waits until the probe returns something.
pub async fn loop_until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a measurement that uses a stack.
pub fn run(measurement: impl Future<Output = ()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measurement);
}
