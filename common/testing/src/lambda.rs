//! A Lambda Runtime API that runs one built binary, as Lambda does.
//!
//! Protocol: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use super::TIMEOUT;
use super::streamed::{Streamed, copy};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Long timeouts for variables that a test does not set. With the defaults, a slow response on a busy machine would
/// look like an outage. All are shorter than [`TIMEOUT`]. A test gets the default with an empty value.
const LONG_TIMEOUTS: [(&str, &str); 12] = [
    ("DATABASE_BUDGET_MS", "60000"),
    ("DATABASE_CONNECT_TIMEOUT_MS", "60000"),
    ("DATABASE_STATEMENT_TIMEOUT_MS", "60000"),
    ("HEALTH_CHECK_TIMEOUT_MS", "60000"),
    ("MEDIA_TIMEOUT_MS", "60000"),
    ("MONITOR_BUDGET_MS", "60000"),
    ("MONITOR_TIMEOUT_MS", "30000"),
    ("SPOOL_WRITE_BUDGET_MS", "10000"),
    ("SQS_SEND_BUDGET_MS", "30000"),
    ("SWEEP_BUDGET_SECONDS", "110"),
    ("TENANT_PROFILE_TIMEOUT_MS", "30000"),
    ("TWILIO_TIMEOUT_MS", "60000"),
];

/// The result of an invocation.
#[derive(Debug)]
pub enum Outcome {
    /// The function returned a response.
    Response(Value),
    /// The function began a streamed response.
    Stream(Streamed),
    /// The function reported an error.
    Error(Value),
    /// The process ended without a response.
    Died,
}

struct Invocation {
    event: Value,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct Waiting(HashMap<String, oneshot::Sender<Outcome>>);

struct Shared {
    invocations: Mutex<mpsc::Receiver<Invocation>>,
    waiting: Mutex<Waiting>,
}

/// A running function.
#[derive(Debug)]
pub struct Function {
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Function {
    /// Starts a binary. Its environment contains `variables`, the variables that Lambda sets, and long timeouts where
    /// `variables` has none.
    ///
    /// # Panics
    ///
    /// If the binary can't be started.
    pub async fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
        let (invocations, receiver) = mpsc::channel(16);
        let shared =
            Arc::new(Shared { invocations: Mutex::new(receiver), waiting: Mutex::new(Waiting::default()) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "under-test")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .envs(LONG_TIMEOUTS)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect(binary);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                kept.lock().await.push(line);
            }
        });
        Self { child, invocations, lines }
    }

    /// Invokes the function and waits for the outcome.
    ///
    /// # Panics
    ///
    /// If there is no outcome within two minutes.
    pub async fn invoke(&mut self, event: Value) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.invocations.send(Invocation { event, reply }).await.expect("the Runtime API has stopped");
        tokio::select! {
            outcome = outcome => outcome.unwrap_or(Outcome::Died),
            _ = self.child.wait() => Outcome::Died,
            () = tokio::time::sleep(TIMEOUT) => panic!("the function did not respond within {TIMEOUT:?}"),
        }
    }

    /// Invokes the function and returns its response. A streamed one is read to its end and gets the form of a
    /// buffered one.
    ///
    /// # Panics
    ///
    /// If the invocation fails.
    pub async fn call(&mut self, event: Value) -> Value {
        match self.invoke(event).await {
            Outcome::Response(value) => value,
            Outcome::Stream(streamed) => streamed.whole().await,
            other => panic!("{other:?}"),
        }
    }

    /// Invokes the function and returns its streamed response when it has begun.
    ///
    /// # Panics
    ///
    /// If the function does not stream.
    pub async fn stream(&mut self, event: Value) -> Streamed {
        match self.invoke(event).await {
            Outcome::Stream(streamed) => streamed,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the process to exit by itself, for example because of invalid configuration, and returns its log.
    ///
    /// # Panics
    ///
    /// If it does not exit within two minutes.
    pub async fn ended(&mut self) -> Vec<Value> {
        let ended = tokio::time::timeout(TIMEOUT, self.child.wait()).await;
        assert!(!ended.expect("the process did not exit").expect("an exit status").success());
        super::eventually("the last log line", async || Some(self.log().await).filter(|log| !log.is_empty()))
            .await
    }

    /// Returns the log lines so far.
    pub async fn log(&self) -> Vec<Value> {
        let lines = self.lines.lock().await;
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.clone().into())).collect()
    }

    /// Waits for a log line with a metric and returns the metric's value, or all its values.
    ///
    /// # Panics
    ///
    /// If there is none within two minutes.
    pub async fn metric(&self, name: &str) -> Value {
        super::eventually(name, async || self.log().await.iter().find_map(|line| line.get(name).cloned()))
            .await
    }

    /// Waits for a log line with a metric and this outcome, declared with the dimension, and returns its value.
    ///
    /// # Panics
    ///
    /// If there is none within two minutes.
    pub async fn metric_of(&self, name: &str, outcome: &str) -> Value {
        let has_dimension = |line: &Value| {
            let directives = line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
            directives
                .filter(|directive| directive["Dimensions"][0].to_string().contains("\"outcome\""))
                .any(|directive| directive["Metrics"].to_string().contains(&format!("\"{name}\"")))
        };
        super::eventually(&format!("{name} {outcome}"), async || {
            let log = self.log().await;
            let line = log.iter().find(|line| line["outcome"] == outcome && has_dimension(line))?;
            line.get(name).cloned()
        })
        .await
    }

    /// Returns the log lines, which are updated as they are written, for a test that waits for one during an
    /// invocation.
    #[must_use]
    pub fn lines(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.lines)
    }

    /// Returns the peak memory of the process in KiB, or `None` on systems without `/proc`.
    #[must_use]
    pub fn peak_memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Kills the process with SIGKILL.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> (HeaderMap, String) {
    let Some(invocation) = shared.invocations.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let id = common::clock::new_id().to_string();
    shared.waiting.lock().await.0.insert(id.clone(), invocation.reply);
    let deadline = common::clock::now().as_millisecond() + 30_000;
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:under-test".to_owned(),
        ),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap()))
        .collect();
    (headers, invocation.event.to_string())
}

async fn settle(shared: &Shared, id: &str, outcome: Outcome) -> StatusCode {
    match shared.waiting.lock().await.0.remove(id) {
        Some(reply) => {
            let _ = reply.send(outcome);
            StatusCode::ACCEPTED
        }
        None => StatusCode::NOT_FOUND,
    }
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    if headers.get("lambda-runtime-function-response-mode").is_some_and(|mode| mode == "streaming") {
        let (writer, reader) = mpsc::unbounded_channel();
        let (head, rest) = copy::prelude(body).await;
        let status = settle(&shared, &id, Outcome::Stream(Streamed::new(head, reader))).await;
        copy::body(rest, writer).await;
        return status;
    }
    settle(&shared, &id, Outcome::Response(json(body).await)).await
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Body) -> StatusCode {
    settle(&shared, &id, Outcome::Error(json(body).await)).await
}

async fn json(body: Body) -> Value {
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}
