//! Shared test setup.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use local::gateway::Gateway;
use local::lambda::{FunctionSettings, Functions, WhenBusy};
use local::metrics::Metrics;
use local::template::Template;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub const TEMPLATE: &str = include_str!("template.yaml");

/// Returns the folder where Cargo puts the fixture.
pub fn fixture_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples")
}

/// The fixture's functions, without queues, gateway or schedules.
pub struct Lambda {
    pub functions: Arc<Functions>,
    pub metrics: Arc<Metrics>,
    pub template: Template,
    pub folder: TempDir,
}

impl Lambda {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts the functions with a timeout of two seconds.
    pub fn with_short_timeout() -> Self {
        Self::of(&edited("    Timeout: 60\n", "    Timeout: 2\n"), &[])
    }

    /// Starts the functions with an integration timeout of one second.
    pub fn with_short_integration_timeout() -> Self {
        Self::of(&edited("TimeoutInMillis: 30000", "TimeoutInMillis: 1000"), &[])
    }

    pub fn with(variables: &[(&str, &str)]) -> Self {
        Self::of(TEMPLATE, variables)
    }

    fn of(template: &str, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let template = Template::parse(template, "us-east-1").unwrap();
        let variables: BTreeMap<_, _> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = FunctionSettings {
            binaries: fixture_folder(),
            logs: folder.path().join("logs"),
            region: "us-east-1".to_owned(),
            max_processes: 8,
        };
        let metrics = Arc::new(Metrics::default());
        let specs = template.functions.iter().map(|spec| (spec.clone(), variables.clone()));
        let functions = Arc::new(Functions::new(specs, &settings, &metrics).unwrap());
        Self { functions, metrics, template, folder }
    }

    pub async fn invoke(&self, payload: &str) -> Result<Value, Value> {
        let response = self.functions.invoke("echo", payload.to_owned().into(), WhenBusy::Wait).await;
        match response {
            Ok(response) => Ok(serde_json::from_slice(&response).unwrap()),
            Err(local::lambda::InvokeError::Function(payload)) => {
                Err(serde_json::from_slice(&payload).unwrap())
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("logs/echo.log")).unwrap()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.functions.get("echo").unwrap().pids()
    }

    /// Starts the functions with URLs that do not stream.
    pub fn with_buffered_urls() -> Self {
        Self::of(&edited("InvokeMode: RESPONSE_STREAM", "InvokeMode: BUFFERED"), &[])
    }

    /// Starts a gateway and returns its base URL.
    pub async fn gateway(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gateway = Gateway::new(&self.template, self.functions.clone(), self.metrics.clone(), port);
        let service = gateway.router().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        format!("http://127.0.0.1:{port}")
    }
}

fn edited(from: &str, to: &str) -> String {
    assert!(TEMPLATE.contains(from), "the template does not contain {from:?}");
    TEMPLATE.replace(from, to)
}

/// An HTTP response.
pub struct HttpResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpResponse {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }
}

pub async fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> HttpResponse {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    HttpResponse { status, headers, body: response.into_body().collect().await.unwrap().to_bytes() }
}

pub async fn get(url: &str, headers: &[(&str, &str)]) -> HttpResponse {
    request(Method::GET, url, headers, "").await
}

/// Deadline of every condition, long enough for a slow and busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` returns a value. `what` names the condition in the panic message.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
