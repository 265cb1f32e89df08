//! Sending events to subscribers: forbidden addresses, all kinds of receivers, TLS and signatures.
#![expect(clippy::unwrap_used, reason = "a failed test setup should stop the test")]

mod challenges;
mod names;
mod receivers;
mod signatures;
mod tls;

use common::config::Secret;
use common::subscribers::{Attempt, Destination, Outgoing, Subscribers, SubscribersConfig, new_secret};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A deadline that the tests do not reach, unless they wait for it.
const LONG: Duration = Duration::from_secs(30);
/// A deadline that the tests wait for.
const SHORT: Duration = Duration::from_millis(400);
/// How much later than its deadline an attempt may end on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A client that may send to this machine.
fn local() -> Subscribers {
    Subscribers::new(&SubscribersConfig::default().with_loopback()).unwrap()
}

fn url(text: &str) -> Destination {
    Destination::url(text).unwrap()
}

async fn deliver(subscribers: &Subscribers, to: &str, timeout: Duration) -> Attempt {
    deliver_to(subscribers, &url(to), &[new_secret()], timeout).await
}

async fn deliver_to(
    subscribers: &Subscribers,
    to: &Destination,
    secrets: &[Secret],
    timeout: Duration,
) -> Attempt {
    let body = r#"{"id":"e-1","type":"message.received","data":{"text":"¿Qué? 😀"}}"#;
    subscribers.deliver(to, &Outgoing { id: "e-1", body, secrets, group: Some("c-1") }, timeout).await
}

/// Starts a server that handles each connection with `handle`, and returns its address.
async fn server<F: Future<Output = ()> + Send + 'static>(
    handle: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// Reads a request and sends the start of a response.
async fn start_response(stream: &mut TcpStream, head: &str) {
    let mut request = [0; 8_192];
    let _ = stream.read(&mut request).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
}
