//! Deep health checks: what the peers see of many calls.

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

use crate::client::{exchange, request};
use crate::stack::Setup;

/// A peer that counts the requests that a health check makes of it.
struct Peer {
    url: String,
    checks: Arc<AtomicUsize>,
}

impl Peer {
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
async fn a_hundred_deep_calls_through_the_gateway_cause_one_check_of_each_peer() {
    let folder = TempDir::new().unwrap();
    let queues =
        |url: &str| Arc::new(Sqs::open(&folder.path().join("queues"), url, "us-east-1").unwrap()).router();
    let sqs = Peer::start(queues, |request| {
        request.headers().get("x-amz-target").is_some_and(|target| target == "AmazonSQS.GetQueueAttributes")
    });
    let empty = |_: &str| Router::new().fallback(async || Json(json!({"messages": []})));
    // Schedules list messages too, but never a single one.
    let twilio = Peer::start(empty, |request| request.uri().query() == Some("PageSize=1"));
    let monitor = Peer::start(empty, |request| request.uri().path() == "/");
    let (sqs, twilio, monitor) = (sqs.await, twilio.await, monitor.await);
    // A busy machine may take longer for the calls than the result is kept for.
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
        let answers = join_all((0..10).map(|_| exchange(request("GET", &url)))).await;
        for answer in answers {
            assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)), "{answer:?}");
        }
    }
    // One check of SQS asks each of the four queues.
    assert_eq!((sqs.checks() - before, twilio.checks(), monitor.checks()), (4, 1, 1));
}
