//! A port before another server, which a test can shut: what was connected is cut, what connects is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use local::postgres::Postgres;
use local::sqs::Sqs;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::stack::eventually;

/// A port of the loopback interface before whatever is behind it.
pub struct Door {
    address: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Door {
    /// Takes a free port, shut.
    async fn new() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { address, open: None }
    }

    /// Opens it before the server at `target`.
    pub async fn open(&mut self, target: SocketAddr) {
        let address = self.address;
        let listener =
            eventually("the port is free", async || TcpListener::bind(address).await.ok()).await;
        self.open = Some(tokio::spawn(async move {
            // Dropped with this task, which cuts all connections.
            let mut passing = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                passing.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        }));
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
        let sqs = Sqs::open(&folder.path().join("queues"), &format!("http://{}", door.address), "us-east-1").unwrap();
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

    /// Starts the server again, which recovers what was committed.
    pub async fn come_back(&mut self) {
        let (cluster, log) = (self.cluster(), self.folder.path().join("log"));
        // The killed server's own processes may take a moment to notice.
        let server = eventually("the database has started", async || {
            Postgres::start(&cluster, &log).await.ok()
        })
        .await;
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
