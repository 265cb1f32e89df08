//! A stand-in for the Collections Monitor and the tenant profile service, on one port.
//!
//! It stores tenants, records calls and simulates faults:
//!
//! - `GET /tenants/lookup?phone=…`, `PUT /tenants/{id}/language`: the endpoints that the functions call.
//! - `/stand-in/…` (`control.rs`): manages tenants, faults and recorded calls. Faults do not affect these paths.
//! - `/`: a page for the same, and the target of the health check. Faults affect it.

mod control;
mod fault;
mod services;
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

/// The default port, if it is free.
const DEFAULT_PORT: u16 = 9020;
/// Prefix of the paths that faults do not affect.
const CONTROL: &str = "/stand-in";

/// A running stand-in.
#[derive(Debug)]
pub struct StandIn {
    url: String,
    listener: TcpListener,
    store: Arc<Store>,
}

impl StandIn {
    /// Binds `port` on the loopback interface; without `port`, the default port or a free one. Tenants are stored in
    /// `file`.
    ///
    /// # Errors
    ///
    /// If `port` is in use.
    pub async fn bind(port: Option<u16>, file: PathBuf) -> io::Result<Self> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let listener = match port {
            Some(port) => TcpListener::bind(address(port)).await?,
            // Another stack may use the default port; callers read the address from `url`.
            None => match TcpListener::bind(address(DEFAULT_PORT)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(address(0)).await?,
            },
        };
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { url, listener, store: Arc::new(Store::open(file)) })
    }

    /// Returns the base URL without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves requests until the task is dropped.
    pub async fn serve(self) {
        let router = services::routes().merge(control::routes()).with_state(Arc::clone(&self.store));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, router.clone(), Arc::clone(&self.store)));
                }
            }
        }
    }
}

/// Serves one request per connection, so that a new fault affects the next call. Resets connections during a `down`
/// fault.
async fn serve_connection(stream: TcpStream, router: Router, store: Arc<Store>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, store) = (TowerToHyperService::new(router.clone()), Arc::clone(&store));
        async move {
            if !request.uri().path().starts_with(CONTROL) && store.is_down() {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let response: Result<_, Infallible> = router.call(request).await;
            response.map_err(|never| match never {})
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false);
    // Errors are expected: the client disconnected, or the fault reset the connection.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}
