//! Receivers that respond in all kinds of ways, or not.

use crate::{LONG, SHORT, TOLERANCE, deliver, local, server, start_response};
use common::subscribers::Outcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testing::Receiver;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn the_status_and_retry_after_decide_the_outcome() {
    let receiver = Receiver::start().await;
    let subscribers = local();
    for (status, retry_after, outcome) in [
        (200, None, Outcome::Delivered),
        (204, None, Outcome::Delivered),
        (299, Some("5"), Outcome::Delivered),
        (300, None, Outcome::Failed),
        (400, None, Outcome::Failed),
        (404, None, Outcome::Failed),
        (410, None, Outcome::Gone),
        (410, Some("5"), Outcome::Gone),
        (418, Some("5"), Outcome::Unavailable),
        (429, None, Outcome::Unavailable),
        (500, None, Outcome::Failed),
        (500, Some("5"), Outcome::Unavailable),
        (501, None, Outcome::Failed),
        (502, None, Outcome::Unavailable),
        (503, None, Outcome::Unavailable),
        (504, None, Outcome::Unavailable),
    ] {
        let headers: Vec<_> = retry_after.iter().map(|seconds| ("retry-after", *seconds)).collect();
        receiver.reply(status, &headers, "");
        let attempt = deliver(&subscribers, &receiver.url("/"), LONG).await;
        assert_eq!(
            (attempt.outcome, attempt.status_code),
            (outcome, Some(status)),
            "{status} {retry_after:?}"
        );
        assert_eq!(attempt.retry_after, retry_after.map(|_| Duration::from_secs(5)));
        assert_eq!(attempt.error.is_none(), outcome == Outcome::Delivered);
    }
}

#[tokio::test]
async fn a_request_has_the_body_unchanged_and_names_this_service() {
    let receiver = Receiver::start().await;
    deliver(&local(), &receiver.url("/hook?a=b%20c&d"), LONG).await;
    let received = &receiver.received()[0];
    assert_eq!(received.uri.to_string(), "/hook?a=b%20c&d");
    assert_eq!(received.body, r#"{"id":"e-1","type":"message.received","data":{"text":"¿Qué? 😀"}}"#);
    let expected =
        [("content-type", "application/json"), ("user-agent", "sms-foundation"), ("webhook-id", "e-1")];
    for (name, value) in expected {
        assert_eq!(received.header(name), value);
    }
    assert_eq!(received.header("authorization"), "");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    for status in [301, 302, 303, 307, 308] {
        receiver.reply(status, &[("location", &other.url("/"))], "");
        let attempt = deliver(&local(), &receiver.url("/"), LONG).await;
        assert_eq!(attempt.outcome, Outcome::Failed);
        assert_eq!(attempt.error, Some(format!("status {status}: redirects are not followed")));
    }
    assert_eq!((receiver.received().len(), other.received().len()), (5, 0));
}

#[tokio::test]
async fn the_first_four_kib_of_a_response_are_kept_as_valid_text() {
    let receiver = Receiver::start().await;
    receiver.reply(400, &[], "no\0t \u{1f600}");
    let attempt = deliver(&local(), &receiver.url("/"), LONG).await;
    assert_eq!(attempt.response_body.as_deref(), Some("not \u{1f600}"));

    // The limit cuts the last character.
    receiver.reply(400, &[], &"é".repeat(5_000).replacen('é', "x", 1));
    let attempt = deliver(&local(), &receiver.url("/"), LONG).await;
    let kept = attempt.response_body.unwrap();
    assert_eq!(kept.chars().count(), 1 + 2_047 + 1);
    assert!(kept.ends_with("é\u{fffd}"));
}

#[tokio::test]
async fn an_endless_body_is_dropped_after_four_kib() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let address = server(move |mut stream| {
        let sent = Arc::clone(&counter);
        async move {
            start_response(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("400\r\n{}\r\n", "x".repeat(1_024));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let attempt = deliver(&local(), &format!("http://{address}/"), LONG).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    assert_eq!(attempt.response_body.map(|body| body.len()), Some(4_096));
    // The connection is closed; the rest fits into the buffers of the sockets.
    let mut last = usize::MAX;
    testing::eventually("the receiver stops", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = sent.load(Ordering::Relaxed);
        (std::mem::replace(&mut last, now) == now).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_ends_at_the_deadline() {
    let address = server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let attempt = deliver(&local(), &format!("http://{address}/"), SHORT).await;
    assert_eq!(attempt.outcome, Outcome::TimedOut);
    assert_eq!(attempt.error.as_deref(), Some("no response within 400 ms"));
    assert!((SHORT..SHORT + TOLERANCE).contains(&attempt.duration), "{:?}", attempt.duration);
}

/// Sends two bytes per 100 ms: the same as two bytes per second, in less time.
async fn drip(mut stream: tokio::net::TcpStream, bytes: &'static [u8]) {
    for two in bytes.chunks(2) {
        if stream.write_all(two).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn headers_at_two_bytes_at_a_time_end_at_the_deadline() {
    let address = server(|mut stream| async move {
        start_response(&mut stream, "HT").await;
        drip(stream, b"TP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let attempt = deliver(&local(), &format!("http://{address}/"), SHORT).await;
    assert_eq!(attempt.outcome, Outcome::TimedOut);
    assert!((SHORT..SHORT + TOLERANCE).contains(&attempt.duration), "{:?}", attempt.duration);
}

#[tokio::test]
async fn a_slow_body_does_not_hold_a_delivery_beyond_a_second_or_the_deadline() {
    for (timeout, expected) in [(SHORT, SHORT), (LONG, Duration::from_secs(1))] {
        let address = server(|mut stream| async move {
            start_response(&mut stream, "HTTP/1.1 201 Created\r\ncontent-length: 9000\r\n\r\n").await;
            drip(stream, &[b'x'; 9_000]).await;
        })
        .await;
        let attempt = deliver(&local(), &format!("http://{address}/"), timeout).await;
        assert_eq!((attempt.outcome, attempt.status_code), (Outcome::Delivered, Some(201)));
        assert!(attempt.response_body.unwrap().starts_with("xx"));
        assert!(attempt.duration < expected + TOLERANCE, "{:?}", attempt.duration);
    }
}

#[tokio::test]
async fn no_connection_and_no_http_are_unavailable() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hangs_up = server(|stream| async move { drop(stream) }).await;
    let not_http = server(|mut stream| async move { start_response(&mut stream, "SSH-2.0\r\n").await }).await;
    for address in [closed, hangs_up, not_http] {
        let attempt = deliver(&local(), &format!("http://{address}/?token=s3cret"), LONG).await;
        assert_eq!((attempt.outcome, attempt.status_code), (Outcome::Unavailable, None));
        let error = attempt.error.unwrap();
        assert!(!error.contains("s3cret") && !error.contains("127.0.0.1") && !error.is_empty(), "{error}");
    }
}

#[tokio::test]
async fn one_connection_is_used_for_several_deliveries() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = server(move |mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            for _ in 0..3 {
                start_response(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let subscribers = local();
    for _ in 0..3 {
        let attempt = deliver(&subscribers, &format!("http://{address}/"), LONG).await;
        assert_eq!(attempt.outcome, Outcome::Delivered);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}
