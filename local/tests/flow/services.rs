//! External services behind a TCP proxy that tests can close or stall.
//!
//! A closed proxy cuts existing connections and refuses new ones. A stalled proxy accepts connections but forwards
//! nothing, like an overloaded server or a network that drops packets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use local::postgres::Postgres;
use local::sqs::Sqs;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{request, send_request};
use crate::stack::eventually;

/// A TCP proxy on the loopback interface.
pub struct Proxy {
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
    stalled: watch::Sender<bool>,
}

impl Proxy {
    /// Creates a closed proxy on a free port.
    async fn new() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { address, listener: None, stalled: watch::Sender::new(false) }
    }

    /// Forwards connections to the server at `target`.
    pub async fn open(&mut self, target: SocketAddr) {
        let address = self.address;
        let listener = eventually("the port is free", async || TcpListener::bind(address).await.ok()).await;
        let stalled = self.stalled.subscribe();
        self.listener = Some(tokio::spawn(async move {
            // Dropping the set with this task closes all connections.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let stalled = stalled.clone();
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        forward(from_client, to_server, stalled.clone()),
                        forward(from_server, to_client, stalled)
                    );
                });
            }
        }));
    }

    /// Stops forwarding, or continues with the bytes that were held back.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Closes the port and all connections.
    pub async fn close(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
            // An aborted task returns an error.
            let _ = listener.await;
        }
    }
}

/// Forwards bytes until the stream ends. Holds them back while the proxy is stalled.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut stalled: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err() || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
    // The other end may have closed the connection.
    let _ = to.shutdown().await;
}

/// An SQS server outside the stack.
pub struct Queues {
    proxy: Proxy,
    server: SocketAddr,
    attributes: Arc<Mutex<Vec<Value>>>,
    _folder: TempDir,
}

impl Queues {
    /// Starts a reachable server.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut proxy = Proxy::new().await;
        let sqs = Sqs::open(&folder.path().join("queues"), &format!("http://{}", proxy.address), "us-east-1")
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let attributes: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = middleware::from_fn_with_state(attributes.clone(), keep_attributes);
        tokio::spawn(async move { axum::serve(listener, Arc::new(sqs).router().layer(seen)).await });
        proxy.open(server).await;
        Self { proxy, server, attributes, _folder: folder }
    }

    /// Returns what each sent message has besides its body: attributes, system attributes and the delay.
    pub fn attributes(&self) -> Vec<Value> {
        self.attributes.lock().unwrap().clone()
    }

    /// Returns the value for `AWS_ENDPOINT_URL_SQS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// Makes the server unreachable.
    pub async fn disconnect(&mut self) {
        self.proxy.close().await;
    }

    /// Makes the server reachable again.
    pub async fn reconnect(&mut self) {
        self.proxy.open(self.server).await;
    }

    /// Makes the server reachable again without its queues, like a server that keeps them in memory.
    pub async fn reconnect_without_queues(&mut self, lost: impl Iterator<Item = &String>) {
        for url in lost {
            let request = request("POST", &format!("http://{}/", self.server))
                .header("x-amz-target", "AmazonSQS.DeleteQueue")
                .header("content-type", "application/x-amz-json-1.0")
                .body(json!({ "QueueUrl": url }).to_string());
            assert_eq!(send_request(request).await.status, 200, "{url}");
        }
        self.reconnect().await;
    }

    /// Stalls the server, or lets it continue with the requests that were held back.
    pub fn stall(&self, stalled: bool) {
        self.proxy.stall(stalled);
    }
}

/// Keeps the attributes of sent messages.
async fn keep_attributes(
    State(attributes): State<Arc<Mutex<Vec<Value>>>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let entries = sent["Entries"].as_array().cloned().unwrap_or_else(|| vec![sent]);
    for mut entry in entries {
        let Some(fields) = entry.as_object_mut() else { continue };
        if fields.remove("MessageBody").is_some() {
            attributes.lock().unwrap().push(entry);
        }
    }
    next.run(Request::from_parts(parts, body.into())).await
}

/// A PostgreSQL server outside the stack.
pub struct Database {
    proxy: Proxy,
    server: Option<Postgres>,
    folder: TempDir,
}

impl Database {
    /// Starts a reachable server.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("sms-flow-").unwrap();
        // If the tests run as root, the database server's user needs access.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everyone).unwrap();
        let mut database = Self { proxy: Proxy::new().await, server: None, folder };
        database.restart().await;
        database
    }

    /// Returns the value for `DATABASE_URL`.
    pub fn url(&self) -> String {
        let mut url = url::Url::parse(self.server.as_ref().unwrap().url()).unwrap();
        url.set_port(Some(self.proxy.address.port())).unwrap();
        url.into()
    }

    /// Kills the server, as in a crash, and closes its port.
    pub async fn crash(&mut self) {
        self.proxy.close().await;
        // Dropping the server sends SIGKILL.
        self.server = None;
    }

    /// Stalls the server, or lets it continue with the requests that were held back.
    pub fn stall(&self, stalled: bool) {
        self.proxy.stall(stalled);
    }

    /// Starts the server again. It recovers all committed transactions.
    pub async fn restart(&mut self) {
        let (cluster, log) = (self.cluster(), self.folder.path().join("log"));
        // Processes of the killed server may still be running for a moment.
        let server =
            eventually("the database has started", async || Postgres::start(&cluster, &log).await.ok()).await;
        let port = url::Url::parse(server.url()).unwrap().port().unwrap();
        self.proxy.open(([127, 0, 0, 1], port).into()).await;
        self.server = Some(server);
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.server = None;
        let _ = local::postgres::remove_data(&self.cluster());
    }
}
