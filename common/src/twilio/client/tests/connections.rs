//! Connection failures before, during and after a request.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

/// Serves one raw connection with `serve`. The returned function waits for it and returns the total number of
/// connections.
fn raw_server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, impl FnOnce() -> usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (served, wait) = mpsc::channel();
    thread::spawn(move || {
        serve(listener.accept().unwrap().0);
        listener.set_nonblocking(true).unwrap();
        served.send(1 + std::iter::from_fn(|| listener.accept().ok()).count()).unwrap();
    });
    (address, move || wait.recv_timeout(Duration::from_secs(60)).unwrap())
}

fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    // The end of the form in the body.
    while !request.ends_with(b"message_id%3D1") {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the client closed the connection early");
        request.extend_from_slice(&chunk[..read]);
    }
}

/// Closes the connection with a TCP reset.
fn reset(stream: TcpStream) {
    let stream = tokio_socket(stream);
    stream.set_zero_linger().unwrap();
}

fn tokio_socket(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _guard = runtime.enter();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

async fn assert_ambiguous(serve: impl FnOnce(TcpStream) + Send + 'static) {
    let (address, connections) = raw_server(serve);
    let error = client(&address).create_message(&hello()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Ambiguous, "{error:?}");
    assert_eq!(connections(), 1, "a request that may have been written is not sent again");
}

#[tokio::test]
async fn a_refused_connection_was_not_processed() {
    let error = client("http://127.0.0.1:1").create_message(&hello()).await.unwrap_err();
    assert!(matches!(error, SendError::Connect(_)), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotProcessed { retry_after: None });
}

#[tokio::test]
async fn a_dns_failure_was_not_processed() {
    let error = client("http://no-such-host.invalid").create_message(&hello()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotProcessed { retry_after: None }, "{error:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_was_not_processed() {
    let (address, connections) = raw_server(|mut stream| {
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let address = address.replace("http:", "https:");
    let error = client(&address).create_message(&hello()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotProcessed { retry_after: None }, "{error:?}");
    assert_eq!(connections(), 1);
}

#[tokio::test]
async fn a_tls_handshake_timeout_was_not_processed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    let error = client(&address).create_message(&hello()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotProcessed { retry_after: None }, "{error:?}");
}

#[tokio::test]
async fn a_reset_before_the_request_was_read_is_ambiguous() {
    assert_ambiguous(|stream| {
        // Wait for the first byte: an earlier reset could look like a connect error.
        stream.peek(&mut [0]).unwrap();
        reset(stream);
    })
    .await;
}

#[tokio::test]
async fn a_connection_closed_before_the_request_was_read_is_ambiguous() {
    assert_ambiguous(drop).await;
}

#[tokio::test]
async fn a_reset_after_the_request_was_read_is_ambiguous() {
    assert_ambiguous(|mut stream| {
        read_request(&mut stream);
        reset(stream);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_response_is_ambiguous() {
    assert_ambiguous(|mut stream| {
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{\"sid\":\"SM1\"}").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_response_that_is_not_http_is_ambiguous() {
    assert_ambiguous(|mut stream| {
        read_request(&mut stream);
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_response_timeout_is_ambiguous() {
    let (release, held) = mpsc::channel::<()>();
    let (address, connections) = raw_server(move |mut stream| {
        read_request(&mut stream);
        // Keep the connection open until the client has timed out.
        let _ = held.recv();
    });
    // The shortest timeout with the full connect timeout.
    let client = client_with(&address, MAX_CONNECT_TIMEOUT * 2);
    let error = client.create_message(&hello()).await.unwrap_err();
    assert!(matches!(&error, SendError::NoResponse(cause) if cause.is_timeout()), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Ambiguous);
    drop(release);
    assert_eq!(connections(), 1);
}

#[tokio::test]
async fn each_request_uses_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let body = created().to_string();
    let serving = thread::spawn(move || {
        // Both connections stay open, so the client could reuse the first one.
        let connections: Vec<TcpStream> = (0..2)
            .map(|_| {
                let mut stream = listener.accept().unwrap().0;
                read_request(&mut stream);
                let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(head.as_bytes()).unwrap();
                stream
            })
            .collect();
        connections.len()
    });
    let client = client(&address);
    client.create_message(&hello()).await.unwrap();
    client.create_message(&hello()).await.unwrap();
    assert_eq!(serving.join().unwrap(), 2);
}
