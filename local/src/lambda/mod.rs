//! Emulates Lambda: runs the functions' binaries through the Runtime API, scales their processes, and serves the Invoke
//! API.

mod instance;
mod invoke_api;
mod output;
mod stream;

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
use self::output::Output as Log;
pub use self::stream::{CutOff, StreamBody};
use crate::metrics::Metrics;
use crate::template::{ACCOUNT_ID, FunctionSpec};
use crate::{children, clock};

/// Lambda's maximum payload of a synchronous request or response: 6 MB.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;

/// How long [`Functions::stop`] waits for killed processes to exit.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a process that has responded to become idle before starting another one.
const FINISHING_TIMEOUT: Duration = Duration::from_millis(20);

type Outcome = Result<Output, InvokeError>;

/// A function's response.
#[derive(Debug)]
pub enum Output {
    /// A buffered response.
    Whole(Bytes),
    /// A response that the function is writing.
    Stream(StreamBody),
}

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// All of the function's reserved concurrency is in use.
    #[error("Rate Exceeded.")]
    Throttled,
    /// There is no such function.
    #[error("function not found: {0}")]
    NotFound(String),
    /// The function failed, crashed or timed out. The payload is Lambda's `{errorType, errorMessage}`.
    #[error("the function failed: {}", String::from_utf8_lossy(.0))]
    Function(Bytes),
}

/// What to do while a function's reserved concurrency is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBusy {
    /// Return [`InvokeError::Throttled`], as synchronous invocations do.
    Throttle,
    /// Wait, as asynchronous invocations and Lambda's pollers do.
    Wait,
}

/// All functions of the stack, with their processes.
#[derive(Debug)]
pub struct Functions {
    by_name: BTreeMap<String, Arc<Function>>,
    by_logical_id: BTreeMap<String, String>,
    changes: watch::Sender<u64>,
}

/// Settings shared by all functions.
#[derive(Debug, Clone)]
pub struct FunctionSettings {
    /// The folder that holds the built binaries.
    pub binaries: PathBuf,
    /// The folder for the functions' logs.
    pub logs: PathBuf,
    /// The AWS region.
    pub region: String,
    /// Maximum number of processes per function. Further concurrent invocations wait.
    pub max_processes: usize,
}

impl Functions {
    /// Registers the functions. Processes start when an invocation needs them.
    ///
    /// # Errors
    ///
    /// If a log file cannot be created.
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
                process_slots: Semaphore::new(settings.max_processes),
                idle: Mutex::default(),
                finishing: AtomicUsize::new(0),
                became_idle: Notify::new(),
                pids: Mutex::default(),
                changes: changes.clone(),
                output: Log::create(&settings.logs, &spec.name, metrics.clone())?,
                metrics: metrics.clone(),
                spec,
            };
            functions.by_name.insert(function.spec.name.clone(), Arc::new(function));
        }
        Ok(functions)
    }

    /// Finds a function by name, logical ID or ARN.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Function>> {
        let name = name.rsplit("function:").next().unwrap_or(name);
        let name = self.by_logical_id.get(name).map_or(name, String::as_str);
        self.by_name.get(name)
    }

    /// Invokes a function and returns its whole response.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`]. The caller may retry a throttled invocation.
    pub async fn invoke(&self, name: &str, payload: Bytes, busy: WhenBusy) -> Result<Bytes, InvokeError> {
        match self.start(name, payload, busy).await? {
            Output::Whole(response) => Ok(response),
            Output::Stream(body) => body.collect().await.map_err(|error| {
                InvokeError::Function(error_payload("Function.StreamingError", &error.to_string()))
            }),
        }
    }

    /// Invokes a function and returns its response, or the beginning of it if the function streams.
    ///
    /// # Errors
    ///
    /// See [`Functions::invoke`].
    pub async fn start(&self, name: &str, payload: Bytes, busy: WhenBusy) -> Result<Output, InvokeError> {
        let function = self.get(name).ok_or_else(|| InvokeError::NotFound(name.to_owned()))?.clone();
        let (reply, outcome) = oneshot::channel();
        // A separate task, so that the function's timeout still applies if the caller drops this future.
        tokio::spawn(function.invoke(payload, busy, reply));
        outcome.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Iterates over all functions.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.by_name.values()
    }

    /// Kills all processes and waits until they have exited. Running invocations fail.
    pub async fn stop(&self) {
        let mut changes = self.changes();
        self.iter().for_each(|function| function.kill_all());
        let gone = async {
            while self.iter().any(|function| !function.pids().is_empty()) && changes.changed().await.is_ok() {
            }
        };
        // Do not wait for a process that is stuck in the kernel and does not react to `SIGKILL`.
        let _ = tokio::time::timeout(STOP_TIMEOUT, gone).await;
    }

    /// Returns a channel that changes whenever a process starts or exits.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A function with its processes and concurrency limits.
#[derive(Debug)]
pub struct Function {
    spec: FunctionSpec,
    arn: String,
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    reserved: Option<Semaphore>,
    process_slots: Semaphore,
    idle: Mutex<Vec<Arc<Instance>>>,
    /// The number of processes that have responded and not yet requested the next event.
    finishing: AtomicUsize,
    became_idle: Notify,
    pids: Mutex<BTreeSet<u32>>,
    changes: watch::Sender<u64>,
    output: Log,
    metrics: Arc<Metrics>,
}

impl Function {
    /// The function's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The function's binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The IDs of the running processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    async fn invoke(self: Arc<Self>, payload: Bytes, busy: WhenBusy, reply: oneshot::Sender<Outcome>) {
        // The receiver of `reply` may have been dropped, here and below.
        let permits = match self.admit(busy).await {
            Ok(permits) => permits,
            Err(error) => {
                if matches!(error, InvokeError::Throttled) {
                    self.metrics.throttled(&self.spec.name);
                }
                return drop(reply.send(Err(error)));
            }
        };
        let request_id = clock::request_id();
        let begun = Instant::now();
        let mut caller = Some(reply);
        let outcome = self.run(&request_id, payload, &mut caller).await;
        self.metrics.invocation(&self.spec.name, begun.elapsed(), outcome.is_err());
        match outcome {
            Ok((response, instance, nth)) => {
                self.finishing.fetch_add(1, Ordering::AcqRel);
                let response = response.map(|response| Ok(Output::Whole(response)));
                let _ = caller.zip(response).map(|(caller, response)| caller.send(response));
                instance.ready_for_next(nth).await;
                self.finishing.fetch_sub(1, Ordering::AcqRel);
                self.became_idle.notify_one();
            }
            Err(failure) => {
                self.output.write(&format!("{request_id} {failure}"));
                let error = Err(InvokeError::Function(failure.payload(&request_id)));
                let _ = caller.map(|caller| caller.send(error));
            }
        }
        drop(permits);
    }

    /// Acquires the permits for an invocation. Hold them until the process requests its next event.
    async fn admit(
        &self,
        busy: WhenBusy,
    ) -> Result<(Option<SemaphorePermit<'_>>, SemaphorePermit<'_>), InvokeError> {
        // Reserved concurrency counts running invocations only, so wait for a process slot first.
        let slot = self.process_slots.acquire().await.map_err(|_| shutting_down())?;
        let reserved = match (&self.reserved, busy) {
            (None, _) => None,
            (Some(reserved), WhenBusy::Wait) => Some(reserved.acquire().await.map_err(|_| shutting_down())?),
            (Some(reserved), WhenBusy::Throttle) => {
                Some(reserved.try_acquire().map_err(|_| InvokeError::Throttled)?)
            }
        };
        Ok((reserved, slot))
    }

    async fn run(
        self: &Arc<Self>,
        request_id: &str,
        payload: Bytes,
        caller: &mut Option<oneshot::Sender<Outcome>>,
    ) -> Result<(Option<Bytes>, Arc<Instance>, u64), Failure> {
        loop {
            let (instance, is_warm) = match self.idle_instance().await {
                Some(instance) => (instance, true),
                None => (Instance::spawn(self).await?, false),
            };
            match instance.run(request_id, payload.clone(), self.spec.timeout, caller).await {
                // The process exited while idle and never received the event.
                Err(Failure::NotStarted(_)) if is_warm => {}
                outcome => return outcome.map(|(response, nth)| (response, instance, nth)),
            }
        }
    }

    /// Returns an idle process. Waits briefly if one is about to become idle.
    async fn idle_instance(&self) -> Option<Arc<Instance>> {
        let pop = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let idle = pop();
        if idle.is_some() || self.finishing.load(Ordering::Acquire) == 0 {
            return idle;
        }
        // If another invocation takes the process first, a new one is started; no event is lost.
        let _ = tokio::time::timeout(FINISHING_TIMEOUT, self.became_idle.notified()).await;
        pop()
    }

    fn kill_all(&self) {
        self.process_slots.close();
        self.pids().into_iter().for_each(children::kill_group);
    }

    fn process_idle(&self, instance: Arc<Instance>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }

    fn process_started(&self, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        self.metrics.cold_start(&self.spec.name);
        self.changes.send_modify(|version| *version += 1);
    }

    fn process_exited(&self, instance: &Arc<Instance>) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance.pid());
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| !Arc::ptr_eq(idle, instance));
        self.changes.send_modify(|version| *version += 1);
    }
}

/// Adds the variables that Lambda sets, and those that a process on this machine needs.
fn lambda_environment(
    spec: &FunctionSpec,
    own: BTreeMap<String, String>,
    settings: &FunctionSettings,
) -> BTreeMap<String, String> {
    let mut environment = own;
    let inherited = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
    for name in inherited {
        if let Ok(value) = std::env::var(name) {
            environment.entry(name.to_owned()).or_insert(value);
        }
    }
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

/// Returns a credential of the environment, or the one of the local stack.
pub(crate) fn credential(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| "local".to_owned())
}

fn shutting_down() -> InvokeError {
    InvokeError::Function(error_payload("Sandbox.Failure", "the stack is shutting down"))
}

/// Returns Lambda's error object.
fn error_payload(kind: &str, message: &str) -> Bytes {
    json!({ "errorType": kind, "errorMessage": message }).to_string().into()
}

/// Formats a time limit as Lambda does.
fn seconds(limit: Duration) -> String {
    format!("{:.2} seconds", limit.as_secs_f64())
}
