//! Lambda: the Runtime API for real binaries, as many processes as concurrency needs, and the Invoke API.

mod instance;
mod invoke_api;
mod output;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot, watch};

use self::instance::{Failure, Instance};
pub(crate) use self::invoke_api::router;
use self::output::Output;
use crate::metrics::Metrics;
use crate::template::{ACCOUNT_ID, FunctionSpec};
use crate::{children, clock};

/// Lambda's limit of a synchronous request's and an answer's payload: 6 MB.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;

/// How long [`Functions::stop`] waits for killed processes.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a process that has answered rather than start another.
const FINISHING_PAUSE: Duration = Duration::from_millis(20);

type Outcome = Result<Bytes, InvokeError>;

/// Why an invocation gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// All of the function's reserved concurrency is in use.
    #[error("Rate Exceeded.")]
    Throttled,
    /// There is no such function.
    #[error("there is no function {0}")]
    NotFound(String),
    /// The function failed, crashed or ran out of time; the payload is Lambda's `{errorType, errorMessage}`.
    #[error("the function failed: {}", String::from_utf8_lossy(.0))]
    Function(Bytes),
}

/// What to do while a function's reserved concurrency is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBusy {
    /// Answer [`InvokeError::Throttled`], as a synchronous invocation does.
    Throttle,
    /// Wait, as Lambda's own queue of asynchronous invocations and its pollers do in effect.
    Wait,
}

/// All functions of the stack.
#[derive(Debug)]
pub struct Functions {
    by_name: BTreeMap<String, Arc<Function>>,
    by_logical_id: BTreeMap<String, String>,
    changes: watch::Sender<u64>,
}

/// What the functions of a stack have in common.
#[derive(Debug, Clone)]
pub struct FunctionSettings {
    /// The folder that holds the built binaries.
    pub binaries: PathBuf,
    /// The folder of the functions' logs.
    pub logs: PathBuf,
    /// The AWS region.
    pub region: String,
    /// The most processes of one function: more invocations at once than that wait for one.
    pub max_processes: usize,
}

impl Functions {
    /// Makes the functions known; no process starts before an invocation needs it.
    ///
    /// # Errors
    ///
    /// When a log file cannot be made.
    pub fn new(
        specs: impl IntoIterator<Item = (FunctionSpec, BTreeMap<String, String>)>,
        settings: &FunctionSettings,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let changes = watch::Sender::new(0);
        let mut functions =
            Self { by_name: BTreeMap::new(), by_logical_id: BTreeMap::new(), changes: changes.clone() };
        std::fs::create_dir_all(&settings.logs)?;
        for (spec, environment) in specs {
            functions.by_logical_id.insert(spec.logical_id.clone(), spec.name.clone());
            let function = Function {
                arn: format!("arn:aws:lambda:{}:{ACCOUNT_ID}:function:{}", settings.region, spec.name),
                binary: settings.binaries.join(&spec.binary),
                environment: lambda_environment(&spec, environment, settings),
                reserved: spec.reserved_concurrency.map(Semaphore::new),
                machine: Semaphore::new(settings.max_processes),
                idle: Mutex::default(),
                finishing: AtomicUsize::new(0),
                rested: Notify::new(),
                pids: Mutex::default(),
                changes: changes.clone(),
                output: Output::create(&settings.logs, &spec.name, metrics.clone())?,
                metrics: metrics.clone(),
                spec,
            };
            functions.by_name.insert(function.spec.name.clone(), Arc::new(function));
        }
        Ok(functions)
    }

    /// The function of that name, logical id or ARN.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Function>> {
        let name = name.rsplit("function:").next().unwrap_or(name);
        let name = self.by_logical_id.get(name).map_or(name, String::as_str);
        self.by_name.get(name)
    }

    /// Invokes a function and waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`InvokeError`] says; a throttled invocation may be tried again.
    pub async fn invoke(&self, name: &str, payload: Bytes, busy: WhenBusy) -> Result<Bytes, InvokeError> {
        let function = self.get(name).ok_or_else(|| InvokeError::NotFound(name.to_owned()))?.clone();
        let (reply, outcome) = oneshot::channel();
        // A task of its own: an impatient caller must not take the time limit away with it.
        tokio::spawn(function.invoke(payload, busy, reply));
        outcome.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Every function.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.by_name.values()
    }

    /// Ends every process, and waits until they are gone. What they were doing fails.
    pub async fn stop(&self) {
        let mut changes = self.changes();
        self.iter().for_each(|function| function.kill_all());
        let gone = async {
            while self.iter().any(|function| !function.pids().is_empty()) && changes.changed().await.is_ok() {
            }
        };
        // A process that `SIGKILL` cannot end hangs in the kernel: it is not waited for.
        let _ = tokio::time::timeout(STOP_TIMEOUT, gone).await;
    }

    /// Changes whenever a process starts or ends.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// One function: its processes, and what bounds their number.
#[derive(Debug)]
pub struct Function {
    spec: FunctionSpec,
    arn: String,
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    reserved: Option<Semaphore>,
    machine: Semaphore,
    idle: Mutex<Vec<Arc<Instance>>>,
    /// How many have answered and not yet asked for the next event.
    finishing: AtomicUsize,
    rested: Notify,
    pids: Mutex<BTreeSet<u32>>,
    changes: watch::Sender<u64>,
    output: Output,
    metrics: Arc<Metrics>,
}

impl Function {
    /// The function's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The binary it runs.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The processes that live.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    async fn invoke(self: Arc<Self>, payload: Bytes, busy: WhenBusy, reply: oneshot::Sender<Outcome>) {
        // Whoever waits for a reply may have gone, here and below.
        let permits = match self.admit(busy).await {
            Ok(permits) => permits,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let request_id = clock::request_id();
        let begun = Instant::now();
        let outcome = self.run(&request_id, payload).await;
        self.metrics.invocation(&self.spec.name, begun.elapsed(), outcome.is_err());
        match outcome {
            Ok((answer, instance, nth)) => {
                self.finishing.fetch_add(1, Ordering::AcqRel);
                let _ = reply.send(Ok(answer));
                instance.rested(nth).await;
                self.finishing.fetch_sub(1, Ordering::AcqRel);
                self.rested.notify_one();
            }
            Err(failure) => {
                self.output.note(&format!("{request_id} {failure}"));
                let _ = reply.send(Err(InvokeError::Function(failure.payload(&request_id))));
            }
        }
        drop(permits);
    }

    /// Permits that are held until the process asks for its next event.
    async fn admit(
        &self,
        busy: WhenBusy,
    ) -> Result<(Option<SemaphorePermit<'_>>, SemaphorePermit<'_>), InvokeError> {
        // What waits for one of this machine's processes does not run yet, and Lambda only counts what runs.
        let machine = self.machine.acquire().await.map_err(|_| shutting_down())?;
        let reserved = match (&self.reserved, busy) {
            (None, _) => None,
            (Some(reserved), WhenBusy::Wait) => Some(reserved.acquire().await.map_err(|_| shutting_down())?),
            (Some(reserved), WhenBusy::Throttle) => {
                Some(reserved.try_acquire().map_err(|_| InvokeError::Throttled)?)
            }
        };
        Ok((reserved, machine))
    }

    async fn run(
        self: &Arc<Self>,
        request_id: &str,
        payload: Bytes,
    ) -> Result<(Bytes, Arc<Instance>, u64), Failure> {
        loop {
            let (instance, is_warm) = match self.warm().await {
                Some(instance) => (instance, true),
                None => (Instance::spawn(self).await?, false),
            };
            match instance.run(request_id, payload.clone(), self.spec.timeout).await {
                // A warm process that died in its sleep never saw the event.
                Err(Failure::NotStarted(_)) if is_warm => {}
                outcome => return outcome.map(|(answer, nth)| (answer, instance, nth)),
            }
        }
    }

    /// A process that waits for an event, or that has answered one and is about to.
    async fn warm(&self) -> Option<Arc<Instance>> {
        let pop = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let warm = pop();
        if warm.is_some() || self.finishing.load(Ordering::Acquire) == 0 {
            return warm;
        }
        // A late notification of one that somebody else took costs a start, not an event.
        let _ = tokio::time::timeout(FINISHING_PAUSE, self.rested.notified()).await;
        pop()
    }

    fn kill_all(&self) {
        self.machine.close();
        self.pids().into_iter().for_each(children::kill_group);
    }

    fn rest(&self, instance: Arc<Instance>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }

    fn born(&self, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        self.metrics.cold_start(&self.spec.name);
        self.changes.send_modify(|version| *version += 1);
    }

    fn died(&self, instance: &Arc<Instance>) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance.pid());
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| !Arc::ptr_eq(idle, instance));
        self.changes.send_modify(|version| *version += 1);
    }
}

/// What Lambda sets beside a function's own variables, and what a process on this machine needs.
fn lambda_environment(
    spec: &FunctionSpec,
    own: BTreeMap<String, String>,
    settings: &FunctionSettings,
) -> BTreeMap<String, String> {
    let mut environment = own;
    let machine = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
    for name in machine {
        if let Ok(value) = std::env::var(name) {
            environment.entry(name.to_owned()).or_insert(value);
        }
    }
    let credential = |name: &str| std::env::var(name).unwrap_or_else(|_| "local".to_owned());
    let lambda = [
        ("AWS_LAMBDA_FUNCTION_NAME", spec.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", spec.memory_mb.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", spec.name)),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023".to_owned()),
        ("_HANDLER", "bootstrap".to_owned()),
        ("LAMBDA_TASK_ROOT", settings.binaries.display().to_string()),
        ("AWS_REGION", settings.region.clone()),
        ("AWS_DEFAULT_REGION", settings.region.clone()),
        ("AWS_ACCESS_KEY_ID", credential("AWS_ACCESS_KEY_ID")),
        ("AWS_SECRET_ACCESS_KEY", credential("AWS_SECRET_ACCESS_KEY")),
        ("AWS_SESSION_TOKEN", credential("AWS_SESSION_TOKEN")),
        ("_X_AMZN_TRACE_ID", "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ];
    environment.extend(lambda.map(|(name, value)| (name.to_owned(), value)));
    environment
}

fn shutting_down() -> InvokeError {
    InvokeError::Function(error_payload("Sandbox.Failure", "the stack is shutting down"))
}

/// Lambda's error object.
fn error_payload(kind: &str, message: &str) -> Bytes {
    json!({ "errorType": kind, "errorMessage": message }).to_string().into()
}

/// A time limit as Lambda prints it.
fn seconds(limit: Duration) -> String {
    format!("{:.2} seconds", limit.as_secs_f64())
}
