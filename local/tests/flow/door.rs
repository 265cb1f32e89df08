//! A port before another server, which a test can shut or stall.
//!
//! Shut, what was connected is cut and what connects is refused. Stalled, everything connects and nothing gets through,
//! as with a server that is swapped out, or a network that swallows packets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use local::postgres::Postgres;
use local::sqs::Sqs;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{exchange, request};
use crate::stack::eventually;

/// A port of the loopback interface before whatever is behind it.
pub struct Door {
    address: SocketAddr,
    open: Option<JoinHandle<()>>,
    stalled: watch::Sender<bool>,
}

impl Door {
    /// Takes a free port, shut.
    async fn new() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { address, open: None, stalled: watch::Sender::new(false) }
    }

    /// Opens it before the server at `target`.
    pub async fn open(&mut self, target: SocketAddr) {
        let address = self.address;
        let listener = eventually("the port is free", async || TcpListener::bind(address).await.ok()).await;
        let stalled = self.stalled.subscribe();
        self.open = Some(tokio::spawn(async move {
            // Dropped with this task, which cuts all connections.
            let mut passing = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let stalled = stalled.clone();
                passing.spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        pass(from_client, to_server, stalled.clone()),
                        pass(from_server, to_client, stalled)
                    );
                });
            }
        }));
    }

    /// Lets nothing through, or everything again, what was held back first.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Shuts it.
    pub async fn shut(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            // It was aborted, so it ends with an error.
            let _ = open.await;
        }
    }
}

/// Passes bytes on until there are no more, holding them back while the door is stalled.
async fn pass(
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
    // The other end may be gone already.
    let _ = to.shutdown().await;
}

/// An SQS server outside of the stack.
pub struct Queues {
    door: Door,
    server: SocketAddr,
    _folder: TempDir,
}

impl Queues {
    /// Starts it, reachable.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut door = Door::new().await;
        let sqs = Sqs::open(&folder.path().join("queues"), &format!("http://{}", door.address), "us-east-1")
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Arc::new(sqs).router()).await });
        door.open(server).await;
        Self { door, server, _folder: folder }
    }

    /// What `AWS_ENDPOINT_URL_SQS` has to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.door.address)
    }

    /// Makes it unreachable.
    pub async fn go_down(&mut self) {
        self.door.shut().await;
    }

    /// Makes it reachable again.
    pub async fn come_back(&mut self) {
        self.door.open(self.server).await;
    }

    /// Makes it reachable again as a server that kept these queues in its memory would be.
    pub async fn come_back_empty(&mut self, lost: impl Iterator<Item = &String>) {
        for url in lost {
            let request = request("POST", &format!("http://{}/", self.server))
                .header("x-amz-target", "AmazonSQS.DeleteQueue")
                .header("content-type", "application/x-amz-json-1.0")
                .body(json!({ "QueueUrl": url }).to_string());
            assert_eq!(exchange(request).await.status, 200, "{url}");
        }
        self.come_back().await;
    }

    /// Makes it silent, or lets it speak again and hear what it was told.
    pub fn stall(&self, stalled: bool) {
        self.door.stall(stalled);
    }
}

/// A PostgreSQL server outside of the stack.
pub struct Database {
    door: Door,
    server: Option<Postgres>,
    folder: TempDir,
}

impl Database {
    /// Starts it, reachable.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("sms-flow-").unwrap();
        // For the server's user too, when the tests run as root.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everyone).unwrap();
        let mut database = Self { door: Door::new().await, server: None, folder };
        database.come_back().await;
        database
    }

    /// What `DATABASE_URL` has to be.
    pub fn url(&self) -> String {
        let mut url = url::Url::parse(self.server.as_ref().unwrap().url()).unwrap();
        url.set_port(Some(self.door.address.port())).unwrap();
        url.into()
    }

    /// Kills the server as a crash would, and makes its port refuse.
    pub async fn crash(&mut self) {
        self.door.shut().await;
        // Dropping it sends SIGKILL.
        self.server = None;
    }

    /// Makes it silent, or lets it speak again and hear what it was told.
    pub fn stall(&self, stalled: bool) {
        self.door.stall(stalled);
    }

    /// Starts the server again, which recovers what was committed.
    pub async fn come_back(&mut self) {
        let (cluster, log) = (self.cluster(), self.folder.path().join("log"));
        // The killed server's own processes may take a moment to notice.
        let server =
            eventually("the database has started", async || Postgres::start(&cluster, &log).await.ok()).await;
        let port = url::Url::parse(server.url()).unwrap().port().unwrap();
        self.door.open(([127, 0, 0, 1], port).into()).await;
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
