//! Stands for the Collections Monitor and the tenant profile service, on one port: knows the tenants that it is given,
//! remembers what it was asked and told, and fails as it is told to.
//!
//! - `GET /tenants/lookup?phone=…`, `PUT /tenants/{id}/language`: what the functions call;
//! - `/stand-in/…` (`control.rs`): tenants, faults and the calls so far, for people and tests, which no fault concerns;
//! - `/`: a page for the same, and what the health check calls, which faults do concern.

mod control;
mod fault;
mod peer;
mod store;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::store::Store;

/// The port that is taken if none is asked for and it is free.
const USUAL_PORT: u16 = 9020;
/// What is there and under it is answered whatever fault there is.
const CONTROL: &str = "/stand-in";

/// A running stand-in.
#[derive(Debug)]
pub struct StandIn {
    url: String,
    listener: TcpListener,
    store: Arc<Store>,
}

impl StandIn {
    /// Binds a port of the loopback interface: the one asked for, or the usual one, or else a free one. What it knows is
    /// kept in `file`.
    ///
    /// # Errors
    ///
    /// When the port that was asked for is taken.
    pub async fn bind(port: Option<u16>, file: PathBuf) -> io::Result<Self> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let listener = match port {
            Some(port) => TcpListener::bind(address(port)).await?,
            // Another stack may have it; nobody depends on the number.
            None => match TcpListener::bind(address(USUAL_PORT)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(address(0)).await?,
            },
        };
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { url, listener, store: Arc::new(Store::open(file)) })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until the task is ended.
    pub async fn serve(self) {
        let peer = peer::routes().merge(control::routes()).with_state(Arc::clone(&self.store));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, peer.clone(), Arc::clone(&self.store)));
                }
            }
        }
    }
}

/// Serves one request a connection, so that a fault concerns the very next call. While it is down, connections break.
async fn converse(stream: TcpStream, router: Router, store: Arc<Store>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, store) = (TowerToHyperService::new(router.clone()), Arc::clone(&store));
        async move {
            if !request.uri().path().starts_with(CONTROL) && store.is_down() {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let answer: Result<_, Infallible> = router.call(request).await;
            answer.map_err(|never| match never {})
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false);
    // A client that goes away, or a connection broken on purpose.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}
