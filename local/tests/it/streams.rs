//! Tests of function URLs with response streaming.

use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use local::lambda::WhenBusy;
use local::metrics::Format;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{Lambda, eventually, get};

/// A response whose body is read while it arrives.
struct Streamed(http::Response<Incoming>);

impl Streamed {
    async fn get(gateway: &str, query: &str) -> Self {
        let url = format!("{gateway}/stream?{query}").parse().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        Self(client.get(url).await.unwrap())
    }

    /// Returns the next chunk; `None` at the end; an error if the connection was closed before the end.
    async fn next(&mut self) -> Result<Option<String>, hyper::Error> {
        match self.0.body_mut().frame().await.transpose()? {
            Some(frame) => Ok(Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())),
            None => Ok(None),
        }
    }

    async fn pid(&mut self) -> u32 {
        self.next().await.unwrap().unwrap().trim().parse().unwrap()
    }
}

fn until(file: &Path) -> String {
    format!("until={}", file.display())
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn pids(lambda: &Lambda) -> Vec<u32> {
    lambda.functions.get("stream").unwrap().pids()
}

#[tokio::test]
async fn a_chunk_arrives_while_the_function_is_still_writing() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let file = lambda.folder.path().join("end");
    let mut streamed = Streamed::get(&gateway, &until(&file)).await;
    assert_eq!(streamed.0.status(), 202);
    assert_eq!(streamed.0.headers()["content-type"], "text/event-stream");
    assert_eq!(streamed.0.headers()["set-cookie"], "a=1");
    assert_eq!(pids(&lambda), [streamed.pid().await]);
    std::fs::write(file, "").unwrap();
    assert_eq!(streamed.next().await.unwrap().as_deref(), Some("end\n"));
    assert_eq!(streamed.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_process_that_has_streamed_handles_the_next_event_and_one_at_a_time() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let file = lambda.folder.path().join("end");
    let mut first = Streamed::get(&gateway, &until(&file)).await;
    let pid = first.pid().await;
    // The function's reserved concurrency is 1, and the stream uses it until its end.
    let throttled = get(&format!("{gateway}/stream"), &[]).await;
    assert_eq!((throttled.status.as_u16(), throttled.json()), (429, json!({ "Message": "Rate Exceeded." })));
    std::fs::write(file, "").unwrap();
    while first.next().await.unwrap().is_some() {}
    let second = eventually("the process is free", async || {
        let response = get(&format!("{gateway}/stream"), &[]).await;
        (response.status == 202).then_some(response.body)
    })
    .await;
    assert_eq!(second, format!("{pid}\n"));
    let metrics = lambda.metrics.prometheus(Format::Text);
    assert!(metrics.contains("lambda_cold_starts_total{function=\"stream\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_killed_function_closes_the_connection_in_the_middle_of_the_body() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let mut streamed = Streamed::get(&gateway, "hang").await;
    kill_process(pid(streamed.pid().await), Signal::KILL).unwrap();
    assert!(streamed.next().await.is_err(), "a stream that is cut off must not look complete");
    eventually("the process has exited", async || pids(&lambda).is_empty().then_some(())).await;
    let file = lambda.folder.path().join("crash");
    let mut streamed = eventually("the function is free", async || {
        let streamed = Streamed::get(&gateway, &format!("crash={}", file.display())).await;
        (streamed.0.status() == 202).then_some(streamed)
    })
    .await;
    streamed.pid().await;
    std::fs::write(file, "").unwrap();
    assert!(streamed.next().await.is_err(), "a stream that is cut off must not look complete");
}

#[tokio::test]
async fn a_stream_that_exceeds_the_timeout_is_killed_and_cut_off() {
    let lambda = Lambda::with_short_timeout();
    let gateway = lambda.gateway().await;
    let begun = Instant::now();
    let mut streamed = Streamed::get(&gateway, "hang").await;
    streamed.pid().await;
    assert!(streamed.next().await.is_err());
    assert!(begun.elapsed() >= Duration::from_secs(2));
    eventually("the process is gone", async || pids(&lambda).is_empty().then_some(())).await;
    let log = std::fs::read_to_string(lambda.folder.path().join("logs/stream.log")).unwrap();
    assert!(log.contains("did not respond within 2.00 seconds"), "{log}");
}

#[tokio::test]
async fn a_caller_that_disconnects_does_not_interrupt_the_function() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let file = lambda.folder.path().join("end");
    let mut streamed = Streamed::get(&gateway, &until(&file)).await;
    let pid = streamed.pid().await;
    drop(streamed);
    assert_eq!(get(&format!("{gateway}/stream"), &[]).await.status, 429, "the function still runs");
    std::fs::write(file, "").unwrap();
    let next = eventually("the stream has ended", async || {
        let response = get(&format!("{gateway}/stream"), &[]).await;
        (response.status == 202).then_some(response.body)
    })
    .await;
    assert_eq!(next, format!("{pid}\n"));
}

#[tokio::test]
async fn a_failed_function_is_502_and_a_stream_may_exceed_six_megabytes() {
    let lambda = Lambda::start();
    let gateway = lambda.gateway().await;
    let failed = get(&format!("{gateway}/stream?error"), &[]).await;
    assert_eq!((failed.status.as_u16(), &failed.body[..]), (502, &b"Internal Server Error"[..]));
    let large = eventually("the process is free", async || {
        let response = get(&format!("{gateway}/stream?large"), &[]).await;
        (response.status == 202).then_some(response)
    })
    .await;
    assert!(large.body.len() > 8 * 1024 * 1024, "{}", large.body.len());
}

#[tokio::test]
async fn a_url_that_does_not_stream_returns_the_whole_response_or_502() {
    let lambda = Lambda::with_buffered_urls();
    let gateway = lambda.gateway().await;
    let response = get(&format!("{gateway}/stream"), &[]).await;
    assert_eq!(
        (response.status.as_u16(), &response.headers["content-type"]),
        (202, &"text/event-stream".parse().unwrap())
    );
    for query in ["crash", "large"] {
        let response = eventually("the process is free", async || {
            let response = get(&format!("{gateway}/stream?{query}"), &[]).await;
            (response.status != 429).then_some(response)
        })
        .await;
        assert_eq!(response.status, 502, "{query}");
    }
}

#[tokio::test]
async fn an_invocation_that_does_not_stream_gets_the_whole_output() {
    let lambda = Lambda::start();
    let output = lambda.functions.invoke("stream", "{}".into(), WhenBusy::Wait).await.unwrap();
    let (prelude, body) = output.split_at(output.windows(8).position(|window| window == [0; 8]).unwrap());
    let prelude: serde_json::Value = serde_json::from_slice(prelude).unwrap();
    assert_eq!(prelude["statusCode"], 202);
    assert_eq!(body[8..], *format!("{}\n", pids(&lambda)[0]).as_bytes());
}
