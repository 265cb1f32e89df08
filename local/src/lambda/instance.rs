//! One process of a function, and the Runtime API as it sees it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{Function, MAX_PAYLOAD_BYTES, error_payload, seconds};
use crate::{children, clock};

/// Lambda's limit of the init phase.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a process did not answer an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the process could not start: {0}")]
    Spawn(#[source] std::io::Error),
    #[error("the process ended before it took the event: {0}")]
    NotStarted(String),
    #[error("the function reported an init error")]
    Init(Bytes),
    #[error("the function reported an error")]
    Reported(Bytes),
    #[error("the process ended: {0}")]
    Exit(String),
    #[error("the function took longer than {}", seconds(*.0))]
    Timeout(Duration),
    #[error("the function took longer than {} to start", seconds(*.0))]
    InitTimeout(Duration),
    #[error("the answer of {0} bytes is over the limit of {MAX_PAYLOAD_BYTES}")]
    TooLarge(usize),
}

impl Failure {
    /// The error object as Lambda gives it to the caller.
    pub(super) fn payload(self, request_id: &str) -> Bytes {
        let id = format!("RequestId: {request_id} Error:");
        match self {
            Self::Init(payload) | Self::Reported(payload) => payload,
            Self::Spawn(error) => error_payload("Runtime.InvalidEntrypoint", &format!("{id} {error}")),
            Self::NotStarted(how) | Self::Exit(how) => {
                error_payload("Runtime.ExitError", &format!("{id} Runtime exited with error: {how}"))
            }
            Self::Timeout(limit) | Self::InitTimeout(limit) => {
                error_payload("Sandbox.Timedout", &format!("{id} Task timed out after {}", seconds(limit)))
            }
            Self::TooLarge(size) => error_payload(
                "Function.ResponseSizeTooLarge",
                &format!(
                    "Response payload size ({size} bytes) exceeded maximum allowed payload size \
                     ({MAX_PAYLOAD_BYTES} bytes)."
                ),
            ),
        }
    }
}

type Reply = oneshot::Sender<Result<Bytes, Failure>>;

/// An event on its way to the process.
struct Event {
    request_id: String,
    payload: Bytes,
    timeout: Duration,
    /// Told which `next` took the event.
    started: oneshot::Sender<u64>,
    reply: Reply,
}

/// One process.
pub(super) struct Instance {
    pid: u32,
    function: Arc<Function>,
    events: mpsc::Sender<Event>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    /// The event being worked on, by its request id.
    running: Mutex<Option<(String, Reply)>>,
    init_error: Mutex<Option<Bytes>>,
    /// Before the first `next`: the event that it was started for is on its way.
    fresh: AtomicBool,
    /// How often the process has asked for an event.
    nexts: watch::Sender<u64>,
    kill: Notify,
    exited: watch::Sender<Option<String>>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Instance {
    /// Starts a process with a Runtime API of its own: the port tells who asks.
    pub(super) async fn spawn(function: &Arc<Function>) -> Result<Arc<Self>, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::Spawn)?;
        let address = listener.local_addr().map_err(Failure::Spawn)?;
        let mut command = Command::new(&function.binary);
        command
            .env_clear()
            .envs(&function.environment)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        children::tie(&mut command, children::OnOrphaned::Kill);
        let mut child = command.spawn().map_err(|error| {
            Failure::Spawn(std::io::Error::new(
                error.kind(),
                format!("{}: {error}", function.binary.display()),
            ))
        })?;
        let pid = child.id().unwrap_or_default();
        let (events, inbox) = mpsc::channel(1);
        let instance = Arc::new(Self {
            pid,
            function: function.clone(),
            events,
            inbox: tokio::sync::Mutex::new(inbox),
            running: Mutex::default(),
            init_error: Mutex::default(),
            fresh: AtomicBool::new(true),
            nexts: watch::Sender::new(0),
            kill: Notify::new(),
            exited: watch::Sender::new(None),
        });
        function.born(pid);
        for stream in [child.stdout.take().map(Either::Out), child.stderr.take().map(Either::Err)] {
            let function = function.clone();
            tokio::spawn(async move {
                match stream {
                    Some(Either::Out(stream)) => function.output.read(stream).await,
                    Some(Either::Err(stream)) => function.output.read(stream).await,
                    None => {}
                }
            });
        }
        tokio::spawn(instance.clone().watch(child, listener));
        Ok(instance)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Serves the process until it ends.
    async fn watch(self: Arc<Self>, mut child: Child, listener: TcpListener) {
        let server = axum::serve(listener, router(self.clone())).into_future();
        let how = tokio::select! {
            status = child.wait() => status.map_or_else(|error| error.to_string(), describe),
            _ = server => "the runtime API ended".to_owned(),
            () = self.kill.notified() => {
                children::kill_group(self.pid);
                child.wait().await.map_or_else(|error| error.to_string(), describe)
            }
        };
        // Whatever the process started goes with it, as the sandbox does on Lambda.
        children::kill_group(self.pid);
        self.function.died(&self);
        self.exited.send_replace(Some(how));
    }

    /// Waits until the process, after the event that its `nth` request took, asks for another or ends.
    pub(super) async fn rested(&self, nth: u64) {
        let (mut nexts, mut exited) = (self.nexts.subscribe(), self.exited.subscribe());
        tokio::select! {
            _ = nexts.wait_for(|count| *count > nth) => {}
            _ = ended(&mut exited) => {}
        }
    }

    /// Gives the process one event, and returns the answer with the number of the request that took the event.
    pub(super) async fn run(
        &self,
        request_id: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<(Bytes, u64), Failure> {
        let (started, has_started) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let event = Event { request_id: request_id.to_owned(), payload, timeout, started, reply };
        if self.events.try_send(event).is_err() {
            return Err(Failure::NotStarted("it had another event".to_owned()));
        }
        let mut exited = self.exited.subscribe();
        let nth = tokio::select! {
            biased;
            Ok(nth) = has_started => nth,
            how = ended(&mut exited) => return Err(self.init_failure(how)),
            () = tokio::time::sleep(INIT_TIMEOUT) => {
                return Err(self.killed(&mut exited, Failure::InitTimeout(INIT_TIMEOUT)).await);
            }
        };
        tokio::select! {
            biased;
            Ok(answer) = answer => answer.map(|answer| (answer, nth)),
            how = ended(&mut exited) => Err(Failure::Exit(how)),
            () = tokio::time::sleep(timeout) => Err(self.killed(&mut exited, Failure::Timeout(timeout)).await),
        }
    }

    async fn killed(&self, exited: &mut watch::Receiver<Option<String>>, failure: Failure) -> Failure {
        self.kill.notify_one();
        ended(exited).await;
        failure
    }

    fn init_failure(&self, how: String) -> Failure {
        match self.init_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(payload) => Failure::Init(payload),
            None => Failure::NotStarted(how),
        }
    }

    /// Ends the running event if it is that one.
    fn finish(&self, request_id: &str, outcome: Result<Bytes, Failure>) -> StatusCode {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.take_if(|(id, _)| id == request_id) {
            Some((_, reply)) => {
                // The invoker may have given up at the same moment.
                let _ = reply.send(outcome);
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        }
    }
}

enum Either {
    Out(tokio::process::ChildStdout),
    Err(tokio::process::ChildStderr),
}

async fn ended(exited: &mut watch::Receiver<Option<String>>) -> String {
    match exited.wait_for(Option::is_some).await {
        Ok(how) => how.clone().unwrap_or_default(),
        Err(_) => "the stack is shutting down".to_owned(),
    }
}

/// An exit as Lambda (whose runtime is written in Go) words it.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".to_owned(),
        (None, signal) => format!("signal: {}", signal.unwrap_or_default()),
    }
}

fn router(instance: Arc<Instance>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .layer(DefaultBodyLimit::disable())
        .with_state(instance)
}

/// Waits for an event; only here is a process known to be free for the next one.
async fn next(State(instance): State<Arc<Instance>>) -> Response {
    let mut inbox = instance.inbox.lock().await;
    if !instance.fresh.swap(false, Ordering::AcqRel) {
        instance.function.rest(instance.clone());
    }
    instance.nexts.send_modify(|count| *count += 1);
    let nth = *instance.nexts.borrow();
    let Some(event) = inbox.recv().await else { return StatusCode::GONE.into_response() };
    *instance.running.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((event.request_id.clone(), event.reply));
    // The invoker waits for this or for the process's end; it cannot have gone.
    let _ = event.started.send(nth);
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", event.request_id),
        ("lambda-runtime-deadline-ms", clock::ms_from_now(event.timeout).to_string()),
        ("lambda-runtime-invoked-function-arn", instance.function.arn.clone()),
        ("lambda-runtime-trace-id", trace_id()),
    ];
    (headers.map(|(name, value)| (name, value)), Body::from(event.payload)).into_response()
}

async fn response(State(instance): State<Arc<Instance>>, Path(id): Path<String>, body: Bytes) -> Response {
    if body.len() > MAX_PAYLOAD_BYTES {
        instance.finish(&id, Err(Failure::TooLarge(body.len())));
        return accepted(StatusCode::PAYLOAD_TOO_LARGE);
    }
    accepted(instance.finish(&id, Ok(body)))
}

async fn error(State(instance): State<Arc<Instance>>, Path(id): Path<String>, body: Bytes) -> Response {
    accepted(instance.finish(&id, Err(Failure::Reported(body))))
}

async fn init_error(State(instance): State<Arc<Instance>>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get("lambda-runtime-function-error-type").and_then(|kind| kind.to_str().ok());
    let payload = if body.is_empty() { error_payload(kind.unwrap_or("Runtime.Unknown"), "") } else { body };
    *instance.init_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
    accepted(StatusCode::ACCEPTED)
}

/// The Runtime API's answer to a result.
fn accepted(status: StatusCode) -> Response {
    let body = match status {
        StatusCode::ACCEPTED => json!({ "status": "OK" }),
        StatusCode::BAD_REQUEST => {
            json!({ "errorType": "InvalidRequestID", "errorMessage": "Invalid request ID" })
        }
        _ => {
            json!({ "errorType": "RequestEntityTooLarge", "errorMessage": "Exceeded maximum allowed payload size" })
        }
    };
    (status, axum::Json(body)).into_response()
}

/// An X-Ray header, not sampled.
fn trace_id() -> String {
    let random = clock::request_id().replace('-', "");
    let seconds = clock::now().as_second();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[..24], &random[16..])
}
