//! The listener: connections that can be refused, reset, or not be there at all.

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

use super::exchange::Exchange;

/// How often a closed listener tries to come back when its port is taken.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// The connection that a request came on.
#[derive(Clone, Default)]
pub(super) struct Connection {
    reset: Arc<Notify>,
}

impl Connection {
    /// Resets the connection (an RST, not an orderly end). Never returns: the request ends with it.
    pub(super) async fn reset(&self) -> Response {
        self.reset.notify_one();
        std::future::pending().await
    }
}

/// Serves until the exchange is stopped.
pub(super) async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    exchange: Arc<Exchange>,
    router: Router,
) {
    let mut listener = listener;
    let mut connections = JoinSet::new();
    let mut outages = exchange.outages();
    let mut stopped = std::pin::pin!(exchange.stopped());
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
                Ok((stream, _)) if exchange.faults().refuses_connection() => reset(&stream),
                Ok((stream, _)) => _ = connections.spawn(converse(stream, router.clone())),
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
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the port is taken"),
        }
        tokio::time::sleep(REBIND_PAUSE).await;
    }
}

/// Arranges for the stream to end with an RST when it is dropped.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be reset");
    }
}

/// Speaks HTTP/1.1 on one connection until it ends or a request asks for its reset.
async fn converse(stream: TcpStream, router: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "no TCP_NODELAY");
    }
    let connection = Connection::default();
    let service = TowerToHyperService::new(router.layer(axum::Extension(connection.clone())));
    let mut http =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let ended: Option<hyper::Result<()>> = {
        let asked = std::pin::pin!(connection.reset.notified());
        let mut asked = asked;
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = Pin::new(&mut http).poll(context) {
                return Poll::Ready(Some(result));
            }
            asked.as_mut().poll(context).map(|()| None)
        })
        .await
    };
    match ended {
        None => reset(http.into_parts().io.inner()),
        // A client that goes away, or a body cut short on purpose.
        Some(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke"),
        Some(Ok(())) => {}
    }
}

/// Binds the loopback address.
///
/// # Errors
/// When the port is taken.
pub(super) async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await
}
