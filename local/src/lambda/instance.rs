//! A process of a function and its Runtime API.

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

use super::stream::{self, StreamBody};
use super::{Function, MAX_PAYLOAD_BYTES, Outcome, Output, error_payload, seconds};
use crate::{children, clock};

/// Lambda's time limit for the init phase.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a process did not return a response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the process could not start: {0}")]
    Spawn(#[source] std::io::Error),
    #[error("the process exited before it received the event: {0}")]
    NotStarted(String),
    #[error("the function reported an init error")]
    Init(Bytes),
    #[error("the function reported an error")]
    Reported(Bytes),
    #[error("the process exited: {0}")]
    Exit(String),
    #[error("the function did not respond within {}", seconds(*.0))]
    Timeout(Duration),
    #[error("the function did not start within {}", seconds(*.0))]
    InitTimeout(Duration),
    #[error("the response of {0} bytes exceeds the limit of {MAX_PAYLOAD_BYTES}")]
    TooLarge(usize),
}

impl Failure {
    /// Returns the error object that Lambda returns to the caller.
    pub(super) fn payload(self, request_id: &str) -> Bytes {
        let id = format!("RequestId: {request_id} Error:");
        match self {
            Self::Init(payload) | Self::Reported(payload) => payload,
            Self::Spawn(error) => error_payload("Runtime.InvalidEntrypoint", &format!("{id} {error}")),
            Self::NotStarted(status) | Self::Exit(status) => {
                error_payload("Runtime.ExitError", &format!("{id} Runtime exited with error: {status}"))
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

/// What a process sends as its response.
enum Reply {
    Whole(Bytes),
    /// The body while it is written. The channel closes without a value if the process fails before the end.
    Stream(StreamBody, oneshot::Receiver<()>),
}

type Replies = oneshot::Sender<Result<Reply, Failure>>;

/// An event that is queued for the process.
struct Event {
    request_id: String,
    payload: Bytes,
    timeout: Duration,
    /// Receives the number of the `next` request that returned the event.
    started: oneshot::Sender<u64>,
    reply: Replies,
}

/// A running process of a function.
pub(super) struct Instance {
    pid: u32,
    function: Arc<Function>,
    events: mpsc::Sender<Event>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    /// The current event's request ID and reply channel.
    running: Mutex<Option<(String, Replies)>>,
    init_error: Mutex<Option<Bytes>>,
    /// True until the first `next`: the process was started for an event that it has not received yet.
    is_starting: AtomicBool,
    /// The number of `next` requests so far.
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
    /// Starts a process with its own Runtime API. The port identifies the process.
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
            is_starting: AtomicBool::new(true),
            nexts: watch::Sender::new(0),
            kill: Notify::new(),
            exited: watch::Sender::new(None),
        });
        function.process_started(pid);
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

    /// Serves the Runtime API until the process exits.
    async fn watch(self: Arc<Self>, mut child: Child, listener: TcpListener) {
        let server = axum::serve(listener, router(self.clone())).into_future();
        let status = tokio::select! {
            status = child.wait() => status.map_or_else(|error| error.to_string(), describe),
            _ = server => "the Runtime API failed".to_owned(),
            () = self.kill.notified() => {
                children::kill_group(self.pid);
                child.wait().await.map_or_else(|error| error.to_string(), describe)
            }
        };
        // Also end the process's own children, as Lambda's sandbox does.
        children::kill_group(self.pid);
        self.function.process_exited(&self);
        self.exited.send_replace(Some(status));
    }

    /// Waits until the process requests another event after its `nth` request, or exits.
    pub(super) async fn ready_for_next(&self, nth: u64) {
        let (mut nexts, mut exited) = (self.nexts.subscribe(), self.exited.subscribe());
        tokio::select! {
            _ = nexts.wait_for(|count| *count > nth) => {}
            _ = exit_status(&mut exited) => {}
        }
    }

    /// Passes an event to the process, and waits for the end of its response. Returns the response, unless it was a
    /// stream, and the number of the `next` request that received the event.
    ///
    /// A stream is passed to `caller` when it begins.
    pub(super) async fn run(
        &self,
        request_id: &str,
        payload: Bytes,
        timeout: Duration,
        caller: &mut Option<oneshot::Sender<Outcome>>,
    ) -> Result<(Option<Bytes>, u64), Failure> {
        let (started, has_started) = oneshot::channel();
        let (reply, response) = oneshot::channel();
        let event = Event { request_id: request_id.to_owned(), payload, timeout, started, reply };
        if self.events.try_send(event).is_err() {
            return Err(Failure::NotStarted("the process has another event".to_owned()));
        }
        let mut exited = self.exited.subscribe();
        let nth = tokio::select! {
            biased;
            Ok(nth) = has_started => nth,
            status = exit_status(&mut exited) => return Err(self.init_failure(status)),
            () = tokio::time::sleep(INIT_TIMEOUT) => {
                return Err(self.killed(&mut exited, Failure::InitTimeout(INIT_TIMEOUT)).await);
            }
        };
        let timed_out = tokio::time::sleep(timeout);
        tokio::pin!(timed_out);
        let response = tokio::select! {
            biased;
            Ok(response) = response => response?,
            status = exit_status(&mut exited) => return Err(Failure::Exit(status)),
            () = &mut timed_out => return Err(self.killed(&mut exited, Failure::Timeout(timeout)).await),
        };
        let finished = match response {
            Reply::Whole(response) => return Ok((Some(response), nth)),
            Reply::Stream(body, finished) => {
                // The caller may be gone. As on Lambda, that does not interrupt the function.
                let _ = caller.take().map(|caller| caller.send(Ok(Output::Stream(body))));
                finished
            }
        };
        tokio::select! {
            biased;
            Ok(()) = finished => Ok((None, nth)),
            status = exit_status(&mut exited) => Err(Failure::Exit(status)),
            () = &mut timed_out => Err(self.killed(&mut exited, Failure::Timeout(timeout)).await),
        }
    }

    async fn killed(&self, exited: &mut watch::Receiver<Option<String>>, failure: Failure) -> Failure {
        self.kill.notify_one();
        exit_status(exited).await;
        failure
    }

    fn init_failure(&self, status: String) -> Failure {
        match self.init_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(payload) => Failure::Init(payload),
            None => Failure::NotStarted(status),
        }
    }

    /// Completes the current event if it has this request ID.
    fn finish(&self, request_id: &str, outcome: Result<Reply, Failure>) -> StatusCode {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.take_if(|(id, _)| id == request_id) {
            Some((_, reply)) => {
                // The caller may have timed out at the same moment.
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

async fn exit_status(exited: &mut watch::Receiver<Option<String>>) -> String {
    match exited.wait_for(Option::is_some).await {
        Ok(status) => status.clone().unwrap_or_default(),
        Err(_) => "the stack is shutting down".to_owned(),
    }
}

/// Formats an exit status as Lambda does, whose runtime is written in Go.
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

/// Returns the next event. Only this request shows that the process is idle.
async fn next(State(instance): State<Arc<Instance>>) -> Response {
    let mut inbox = instance.inbox.lock().await;
    if !instance.is_starting.swap(false, Ordering::AcqRel) {
        instance.function.process_idle(instance.clone());
    }
    instance.nexts.send_modify(|count| *count += 1);
    let nth = *instance.nexts.borrow();
    let Some(event) = inbox.recv().await else { return StatusCode::GONE.into_response() };
    *instance.running.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((event.request_id.clone(), event.reply));
    // The caller waits for this channel or for the process's exit, so the receiver exists.
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

async fn response(
    State(instance): State<Arc<Instance>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if headers.get("lambda-runtime-function-response-mode").is_some_and(|mode| mode == "streaming") {
        return streamed(&instance, &id, body).await;
    }
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        // The process has closed the connection. Its exit ends the invocation.
        return accepted(StatusCode::BAD_REQUEST);
    };
    if body.len() > MAX_PAYLOAD_BYTES {
        instance.finish(&id, Err(Failure::TooLarge(body.len())));
        return accepted(StatusCode::PAYLOAD_TOO_LARGE);
    }
    accepted(instance.finish(&id, Ok(Reply::Whole(body))))
}

/// Passes a streamed response on while the process writes it.
async fn streamed(instance: &Instance, id: &str, body: Body) -> Response {
    let (writer, reader) = stream::channel();
    let (finished, is_finished) = oneshot::channel();
    let status = instance.finish(id, Ok(Reply::Stream(reader, is_finished)));
    if status == StatusCode::ACCEPTED && stream::copy(body, writer).await {
        // The invocation may have timed out at the same moment.
        let _ = finished.send(());
    }
    accepted(status)
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

/// Returns the Runtime API's response to a result.
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

/// Returns an X-Ray trace header that is not sampled.
fn trace_id() -> String {
    let random = clock::request_id().replace('-', "");
    let seconds = clock::now().as_second();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[..24], &random[16..])
}
