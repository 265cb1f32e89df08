//! A stack of a test's own: the built command in a folder of its own, beside links to the built functions.

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

/// How long anything may take: CI has two cores, and the functions are debug builds. Nothing that is right comes near it.
pub const DEADLINE: Duration = Duration::from_secs(180);
/// How long a clean stop may take before it counts as none.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a log is shown when a test fails.
const SHOWN_LINES: usize = 40;

/// Ends the stack and removes its folder when the tests are gone, however they went: it reads until its input ends.
const WATCHDOG: &str = r#"
read -r _
kill "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$2"
"#;

/// Waits until `probe` returns something.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {} s", DEADLINE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a stack is started with.
#[derive(Clone)]
pub struct Setup {
    template: String,
    variables: Vec<(String, String)>,
    looked_at: Option<String>,
}

impl Setup {
    /// The template as it is deployed.
    pub fn as_deployed() -> Self {
        let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap();
        Self { template, variables: Vec::new(), looked_at: None }
    }

    /// Seconds instead of minutes: what failed comes back after five, sweeps run each second, keys are cached for two. Senders
    /// send as fast as they can.
    pub fn impatient() -> Self {
        Self::as_deployed()
            .edited("VisibilityTimeout: 30", "VisibilityTimeout: 5")
            .edited("VisibilityTimeout: 60", "VisibilityTimeout: 5")
            .edited("ReauthorizeEvery: 60", "ReauthorizeEvery: 2")
            .with("SMS_SCHEDULE_SECONDS", "1")
            // The tests share one number, and few of them are about its pace.
            .with("SENDER_SEGMENTS_PER_SECOND", "1000")
            .with("SENDER_BURST_SEGMENTS", "1000")
    }

    /// Replaces text of the template.
    pub fn edited(mut self, from: &str, to: &str) -> Self {
        assert!(self.template.contains(from), "the template has no {from:?} any more");
        self.template = self.template.replace(from, to);
        self
    }

    /// Sets a variable of the stack's environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has the test look at the database by this URL, past a pooler, which would mix its prepared statements up.
    pub fn looked_at_by(mut self, database_url: &str) -> Self {
        self.looked_at = Some(database_url.to_owned());
        self
    }

    /// Starts it in a new folder.
    pub async fn start(self) -> Stack {
        let folder = TempDir::with_prefix("sms-flow-").unwrap();
        // For the database server's user too, when the tests run as root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("template.yaml"), &self.template).unwrap();
        let command = Path::new(env!("CARGO_BIN_EXE_local"));
        let own = folder.path().join("local");
        fs::hard_link(command, &own).or_else(|_| fs::copy(command, &own).map(|_| ())).unwrap();
        for function in Template::parse(&self.template, "us-east-1").unwrap().functions {
            let built = command.with_file_name(&function.binary);
            // Some functions may share a binary.
            let _ = symlink(built, folder.path().join(&function.binary));
        }
        let mut stack = Stack::launch(self.variables, folder.keep()).await;
        stack.looked_at = self.looked_at;
        stack
    }
}

/// A running stack. Dropping it stops it and removes its folder.
pub struct Stack {
    pub info: StackInfo,
    variables: Vec<(String, String)>,
    looked_at: Option<String>,
    folder: PathBuf,
    process: Child,
    watchdog: Watchdog,
}

struct Watchdog {
    process: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    fn over(stack: u32, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "watchdog", &stack.to_string()]).arg(folder);
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        Self { input: process.stdin.take(), process }
    }

    /// Ends it without its having done anything.
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
        let watchdog = Watchdog::over(process.id(), &folder);
        let data = folder.join("target/local");
        let stale = StackInfo::read(&data).ok().map(|info| info.aws_endpoint_url);
        let info = eventually("the stack is ready", async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the stack ended with {status}: {}", told(&folder));
            }
            StackInfo::read(&data).ok().filter(|info| Some(&info.aws_endpoint_url) != stale.as_ref())
        })
        .await;
        Self { info, variables, looked_at: None, folder, process, watchdog }
    }

    /// Starts it once more in its folder, after [`Stack::signal`].
    pub async fn start_again(mut self) -> Self {
        self.watchdog.dismiss();
        let folder = std::mem::take(&mut self.folder);
        let looked_at = self.looked_at.take();
        let mut again = Self::launch(std::mem::take(&mut self.variables), folder).await;
        again.looked_at = looked_at;
        again
    }

    /// The URL by which the test looks at the database.
    pub fn database_url(&self) -> &str {
        self.looked_at.as_ref().unwrap_or(&self.info.database_url)
    }

    /// Where the stack keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `local` with other arguments, as somebody would type it beside the running stack.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(self.folder.join("local"));
        own_environment(command.args(arguments).current_dir(&self.folder)).output().unwrap()
    }

    /// Sends the stack a signal and waits for its end.
    pub async fn signal(&mut self, signal: Signal) -> ExitStatus {
        send_signal(self.process.id(), signal);
        eventually("the stack has ended", async || self.process.try_wait().unwrap()).await
    }

    /// The processes of a function that live now.
    pub fn pids(&self, function: &str) -> Vec<u32> {
        let info = StackInfo::read(&self.folder.join("target/local")).unwrap();
        info.functions.get(function).map(|function| function.pids.clone()).unwrap_or_default()
    }

    /// Kills every process of a function, as soon as there is one.
    pub async fn kill(&self, function: &str) {
        let what = format!("{function} runs");
        let pids = eventually(&what, async || Some(self.pids(function)).filter(|pids| !pids.is_empty()));
        pids.await.iter().for_each(|pid| send_signal(*pid, Signal::KILL));
    }

    /// The processes that live and belong to the stack: each was started by a path in its folder, or with one.
    pub fn processes(&self) -> Vec<String> {
        let processes = processes_of(&self.folder).into_iter();
        processes.filter(|line| !line.contains("watchdog")).collect()
    }

    /// The lines that a function has logged.
    pub fn log(&self, function: &str) -> Vec<serde_json::Value> {
        let path = self.folder.join("target/local/logs").join(format!("{function}.log"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// What a stack of these tests has in its environment: free ports, and nothing that is set where the tests run.
pub fn own_environment(command: &mut Command) -> &mut Command {
    command.env_clear();
    for kept in ["PATH", "HOME", "LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
        command.envs(std::env::var(kept).map(|value| (kept, value)));
    }
    command.envs([("SMS_PORT", "0"), ("SMS_TWILIO_PORT", "0"), ("SMS_MONITOR_PORT", "0")])
}

/// Sends a process a signal; it may be gone.
pub fn send_signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.folder.as_os_str().is_empty() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("{}", told(&self.folder));
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

/// What the stack and its functions have to say about a failure.
fn told(folder: &Path) -> String {
    let mut text = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
    let logs = fs::read_dir(folder.join("target/local/logs")).into_iter().flatten().flatten();
    for log in logs {
        let lines = fs::read_to_string(log.path()).unwrap_or_default();
        let is_metric = |line: &str| line.contains("\"_aws\"") && !line.contains("\"level\"");
        let grave = |line: &&str| !line.contains("\"level\":\"INFO\"") && !is_metric(line);
        let grave: Vec<&str> = lines.lines().filter(grave).collect();
        let shown = &grave[grave.len().saturating_sub(SHOWN_LINES)..];
        if !shown.is_empty() {
            text.push_str(&format!("--- {}\n{}\n", log.file_name().display(), shown.join("\n")));
        }
    }
    text
}

static SHARED: OnceCell<Stack> = OnceCell::const_new();

/// The stack of all tests that neither break a part of it nor need a setting of their own. Their handsets keep them
/// apart.
pub async fn shared() -> Shared {
    Shared(SHARED.get_or_init(|| Setup::impatient().start()).await)
}

/// The shared stack in the hands of one test.
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
            eprintln!("{}", told(self.0.folder()));
        }
    }
}
