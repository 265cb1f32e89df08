//! The cache of deep health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::{Json, Router};
use futures::future::join_all;
use local::sqs::Sqs;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::client::{request, send_request};
use crate::stack::Setup;

/// A service that counts the requests of health checks.
struct CountingService {
    url: String,
    checks: Arc<AtomicUsize>,
}

impl CountingService {
    async fn start(routes: impl FnOnce(&str) -> Router, is_check: fn(&Request) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let checks = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&checks);
        let count = from_fn(move |request: Request, next: Next| {
            counted.fetch_add(usize::from(is_check(&request)), Ordering::SeqCst);
            next.run(request)
        });
        let server = routes(&url).layer(count);
        tokio::spawn(async move { axum::serve(listener, server).await });
        Self { url, checks }
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_deep_health_checks_call_each_service_once() {
    let folder = TempDir::new().unwrap();
    let queues =
        |url: &str| Arc::new(Sqs::open(&folder.path().join("queues"), url, "us-east-1").unwrap()).router();
    let sqs = CountingService::start(queues, |request| {
        request.headers().get("x-amz-target").is_some_and(|target| target == "AmazonSQS.GetQueueAttributes")
    });
    let empty = |_: &str| Router::new().fallback(async || Json(json!({"messages": []})));
    // Scheduled functions also list messages, but with larger pages.
    let twilio = CountingService::start(empty, |request| request.uri().query() == Some("PageSize=1"));
    let monitor = CountingService::start(empty, |request| request.uri().path() == "/");
    let (sqs, twilio, monitor) = (sqs.await, twilio.await, monitor.await);
    // On a busy machine, the calls may take longer than the default cache time.
    let stack = Setup::as_deployed()
        .edited(r#"HEALTH_CACHE_SECONDS: "10""#, r#"HEALTH_CACHE_SECONDS: "3600""#)
        .with("HEALTH_CHECK_TIMEOUT_MS", "20000")
        .with("AWS_ENDPOINT_URL_SQS", &sqs.url)
        .with("TWILIO_API_BASE_URL", &twilio.url)
        .with("MONITOR_API_URL", &monitor.url)
        .start()
        .await;
    let before = sqs.checks();

    let url = format!("{}/health?deep=true", stack.info.api_url);
    for _ in 0..10 {
        let responses = join_all((0..10).map(|_| send_request(request("GET", &url)))).await;
        for response in responses {
            assert_eq!((response.status, &response.json()["ok"]), (200, &json!(true)), "{response:?}");
        }
    }
    // One check of SQS calls each of the seven queues.
    assert_eq!((sqs.checks() - before, twilio.checks(), monitor.checks()), (7, 1, 1));
}
