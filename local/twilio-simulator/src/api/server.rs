//! The listener, which can reset connections and close for an outage.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::delivery::engine::Engine;

/// The pause between attempts to bind the port again after an outage.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// The connection of a request.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    reset: Arc<Notify>,
}

impl Connection {
    /// Resets the connection with a TCP RST. Never returns: the request ends with the connection.
    pub(crate) async fn reset(&self) -> Response {
        self.reset.notify_one();
        std::future::pending().await
    }
}

/// Serves until the engine stops.
pub(crate) async fn serve(listener: TcpListener, address: SocketAddr, engine: Arc<Engine>, router: Router) {
    let mut listener = listener;
    let mut connections = JoinSet::new();
    let mut outages = engine.outages();
    let mut stopped = std::pin::pin!(engine.stopped());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            outage = outages.recv() => {
                let length = match outage {
                    Ok(length) => length,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => break,
                };
                drop(listener);
                connections.shutdown().await;
                tokio::select! {
                    () = &mut stopped => break,
                    again = reopen(address, length) => listener = again,
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if engine.faults().refuses_connection() => reset(&stream),
                Ok((stream, _)) => _ = connections.spawn(serve_connection(stream, router.clone())),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "accept failed"),
            }
        }
    }
    connections.shutdown().await;
}

async fn reopen(address: SocketAddr, after: Duration) -> TcpListener {
    tokio::time::sleep(after).await;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "address in use after an outage")
            }
        }
        tokio::time::sleep(REBIND_PAUSE).await;
    }
}

/// Makes the stream send a TCP RST when it is dropped.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not reset a connection");
    }
}

/// Serves HTTP/1.1 on one connection until it closes or a fault resets it.
async fn serve_connection(stream: TcpStream, router: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "could not set TCP_NODELAY");
    }
    let connection = Connection::default();
    let service = TowerToHyperService::new(router.layer(axum::Extension(connection.clone())));
    let mut http =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let ended: Option<hyper::Result<()>> = {
        let mut reset_requested = std::pin::pin!(connection.reset.notified());
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = Pin::new(&mut http).poll(context) {
                return Poll::Ready(Some(result));
            }
            reset_requested.as_mut().poll(context).map(|()| None)
        })
        .await
    };
    match ended {
        None => reset(http.into_parts().io.inner()),
        // The client disconnected, or a fault cut the response.
        Some(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "connection error"),
        Some(Ok(())) => {}
    }
}

/// Binds the listener.
///
/// # Errors
/// When the address is in use or not permitted.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
