//! Starts stacks for tests: the built command in a temporary folder with links to the built functions.

use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use local::stack::StackInfo;
use local::template::Template;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testing::processes_of;
use tokio::sync::OnceCell;

/// Deadline of every condition. Generous, because CI has two cores and runs debug builds.
pub const DEADLINE: Duration = Duration::from_secs(180);
/// How long a clean stop may take before the stack is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of lines of each log that a failed test prints.
const PRINTED_LINES: usize = 40;

/// Stops the stack and removes its folder when the test process ends for any reason: `read` returns when its input
/// closes.
const WATCHDOG: &str = r#"
read -r _
kill "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$2"
"#;

/// Waits until `probe` returns a value. `what` names the condition in the panic message.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The template and variables of a stack.
#[derive(Clone)]
pub struct Setup {
    template: String,
    variables: Vec<(String, String)>,
    direct_database: Option<String>,
}

impl Setup {
    /// Uses the template unchanged.
    pub fn as_deployed() -> Self {
        let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap();
        Self { template, variables: Vec::new(), direct_database: None }
    }

    /// Uses intervals of seconds: failed messages are redelivered after five, schedules run every second, and API keys
    /// are cached for two. The rate limit is practically off.
    pub fn fast() -> Self {
        Self::as_deployed()
            .edited("VisibilityTimeout: 30", "VisibilityTimeout: 5")
            .edited("VisibilityTimeout: 60", "VisibilityTimeout: 5")
            .edited("ReauthorizeEvery: 60", "ReauthorizeEvery: 2")
            .with("SMS_SCHEDULE_SECONDS", "1")
            // The tests share one sender, and few of them test its rate limit.
            .with("SENDER_SEGMENTS_PER_SECOND", "1000")
            .with("SENDER_BURST_SEGMENTS", "1000")
            .with("MEDIA_RETRY_DELAYS_SECONDS", "1,1,2,4,8,16")
    }

    /// Replaces text in the template.
    pub fn edited(mut self, from: &str, to: &str) -> Self {
        assert!(self.template.contains(from), "the template does not contain {from:?}");
        self.template = self.template.replace(from, to);
        self
    }

    /// Sets an environment variable of the stack.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the URL that the test itself uses for the database. It bypasses a pooler, which does not support the test's
    /// prepared statements.
    pub fn with_direct_database(mut self, database_url: &str) -> Self {
        self.direct_database = Some(database_url.to_owned());
        self
    }

    /// Starts the stack in a new folder.
    pub async fn start(self) -> Stack {
        let folder = TempDir::with_prefix("sms-flow-").unwrap();
        // If the tests run as root, the database server's user needs access.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("template.yaml"), &self.template).unwrap();
        let command = Path::new(env!("CARGO_BIN_EXE_local"));
        let own = folder.path().join("local");
        fs::hard_link(command, &own).or_else(|_| fs::copy(command, &own).map(|_| ())).unwrap();
        for function in Template::parse(&self.template, "us-east-1").unwrap().functions {
            let built = command.with_file_name(&function.binary);
            // Fails if another function uses the same binary.
            let _ = symlink(built, folder.path().join(&function.binary));
        }
        let mut stack = Stack::launch(self.variables, folder.keep()).await;
        stack.direct_database = self.direct_database;
        stack
    }
}

/// A running stack. Dropping it stops it and removes its folder.
pub struct Stack {
    pub info: StackInfo,
    variables: Vec<(String, String)>,
    direct_database: Option<String>,
    folder: PathBuf,
    process: Child,
    watchdog: Watchdog,
}

struct Watchdog {
    process: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    fn start(stack: u32, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "watchdog", &stack.to_string()]).arg(folder);
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        Self { input: process.stdin.take(), process }
    }

    /// Ends the watchdog without stopping the stack.
    fn dismiss(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.input = None;
    }
}

impl Stack {
    async fn launch(variables: Vec<(String, String)>, folder: PathBuf) -> Self {
        let error = File::options().create(true).append(true).open(folder.join("stderr")).unwrap();
        let mut command = Command::new(folder.join("local"));
        command.arg("run").current_dir(&folder);
        own_environment(&mut command)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(error));
        let mut process = command.spawn().unwrap();
        let watchdog = Watchdog::start(process.id(), &folder);
        let data = folder.join("target/local");
        let stale = StackInfo::read(&data).ok().map(|info| info.aws_endpoint_url);
        let info = eventually("the stack is ready", async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the stack exited with {status}: {}", logs(&folder));
            }
            StackInfo::read(&data).ok().filter(|info| Some(&info.aws_endpoint_url) != stale.as_ref())
        })
        .await;
        Self { info, variables, direct_database: None, folder, process, watchdog }
    }

    /// Starts the stack again in the same folder, after [`Stack::signal`].
    pub async fn restart(mut self) -> Self {
        self.watchdog.dismiss();
        let folder = std::mem::take(&mut self.folder);
        let direct_database = self.direct_database.take();
        let mut again = Self::launch(std::mem::take(&mut self.variables), folder).await;
        again.direct_database = direct_database;
        again
    }

    /// Starts the stack again in the same folder with another template and other variables, after [`Stack::signal`].
    pub async fn restart_as(mut self, setup: Setup) -> Self {
        fs::write(self.folder.join("template.yaml"), &setup.template).unwrap();
        self.variables = setup.variables;
        self.direct_database = setup.direct_database;
        self.restart().await
    }

    /// Returns the database URL for the test itself.
    pub fn database_url(&self) -> &str {
        self.direct_database.as_ref().unwrap_or(&self.info.database_url)
    }

    /// Returns the stack's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `local` with other arguments in the folder of the running stack.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(self.folder.join("local"));
        own_environment(command.args(arguments).current_dir(&self.folder)).output().unwrap()
    }

    /// Sends a signal to the stack and waits until it has exited.
    pub async fn signal(&mut self, signal: Signal) -> ExitStatus {
        send_signal(self.process.id(), signal);
        eventually("the stack has exited", async || self.process.try_wait().unwrap()).await
    }

    /// Returns the process IDs of a function.
    pub fn pids(&self, function: &str) -> Vec<u32> {
        let info = StackInfo::read(&self.folder.join("target/local")).unwrap();
        info.functions.get(function).map(|function| function.pids.clone()).unwrap_or_default()
    }

    /// Kills all processes of a function. Waits until there is one.
    pub async fn kill(&self, function: &str) {
        let what = format!("{function} is running");
        let pids = eventually(&what, async || Some(self.pids(function)).filter(|pids| !pids.is_empty()));
        pids.await.iter().for_each(|pid| send_signal(*pid, Signal::KILL));
    }

    /// Returns the stack's processes: those with a path in its folder as program or argument.
    pub fn processes(&self) -> Vec<String> {
        let processes = processes_of(&self.folder).into_iter();
        processes.filter(|line| !line.contains("watchdog")).collect()
    }

    /// Returns the log lines of a function.
    pub fn log(&self, function: &str) -> Vec<serde_json::Value> {
        let path = self.folder.join("target/local/logs").join(format!("{function}.log"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Sets the environment of a stack: free ports, and only the necessary variables of the test process.
pub fn own_environment(command: &mut Command) -> &mut Command {
    command.env_clear();
    for name in ["PATH", "HOME", "LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
        command.envs(std::env::var(name).map(|value| (name, value)));
    }
    command.envs([("SMS_PORT", "0"), ("SMS_TWILIO_PORT", "0"), ("SMS_MONITOR_PORT", "0")])
}

/// Sends a signal to a process, which may have exited.
pub fn send_signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.folder.as_os_str().is_empty() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("{}", logs(&self.folder));
        }
        self.watchdog.dismiss();
        send_signal(self.process.id(), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = local::postgres::remove_data(&self.folder.join("target/local/postgres"));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the stack's errors and the last log lines of its functions, without metrics and info messages.
fn logs(folder: &Path) -> String {
    let mut text = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
    let files = fs::read_dir(folder.join("target/local/logs")).into_iter().flatten().flatten();
    for log in files {
        let lines = fs::read_to_string(log.path()).unwrap_or_default();
        let is_metric = |line: &str| line.contains("\"_aws\"") && !line.contains("\"level\"");
        let is_relevant = |line: &&str| !line.contains("\"level\":\"INFO\"") && !is_metric(line);
        let relevant: Vec<&str> = lines.lines().filter(is_relevant).collect();
        let last = &relevant[relevant.len().saturating_sub(PRINTED_LINES)..];
        if !last.is_empty() {
            text.push_str(&format!("--- {}\n{}\n", log.file_name().display(), last.join("\n")));
        }
    }
    text
}

static SHARED: OnceCell<Stack> = OnceCell::const_new();

/// Returns the stack shared by all tests that neither break a part of it nor change its settings. Each test uses its
/// own handsets.
pub async fn shared() -> Shared {
    Shared(SHARED.get_or_init(|| Setup::fast().start()).await)
}

/// A reference to the shared stack that prints its logs if the test fails.
pub struct Shared(&'static Stack);

impl Deref for Shared {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", logs(self.0.folder()));
        }
    }
}
