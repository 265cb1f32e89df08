//! A time limit for opening a connection that also works if the process is frozen meanwhile.
//!
//! A timer is not enough: after a thaw both the connection and the timer are ready, and the connection wins. By then
//! the permission to send may be out of date, for example because the recipient has sent STOP.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// Rejects connections that took longer than the given limit.
#[derive(Debug, Clone)]
pub(super) struct ConnectLimitLayer(pub(super) Duration);

impl<S> Layer<S> for ConnectLimitLayer {
    type Service = ConnectLimit<S>;

    fn layer(&self, connector: S) -> ConnectLimit<S> {
        ConnectLimit { connector, limit: self.0 }
    }
}

/// A connector with a time limit.
#[derive(Debug, Clone)]
pub(super) struct ConnectLimit<S> {
    connector: S,
    limit: Duration,
}

impl<S, R> Service<R> for ConnectLimit<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let (started, limit) = (Instant::now(), self.limit);
        let connecting = self.connector.call(to);
        Box::pin(async move {
            let connection = connecting.await?;
            if started.elapsed() > limit { Err("connecting took too long".into()) } else { Ok(connection) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connector that blocks the thread for a time, like a frozen process.
    struct Frozen(Duration);

    impl Service<()> for Frozen {
        type Response = &'static str;
        type Error = BoxError;
        type Future = Pin<Box<dyn Future<Output = Result<&'static str, BoxError>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            let (started, length) = (Instant::now(), self.0);
            Box::pin(async move {
                while started.elapsed() < length {
                    std::hint::spin_loop();
                }
                Ok("connected")
            })
        }
    }

    #[tokio::test]
    async fn a_connection_that_opened_during_a_freeze_is_rejected() {
        let mut fast = ConnectLimitLayer(Duration::from_secs(60)).layer(Frozen(Duration::ZERO));
        assert_eq!(fast.call(()).await.unwrap(), "connected");
        let mut slow = ConnectLimitLayer(Duration::from_millis(50)).layer(Frozen(Duration::from_millis(60)));
        // `timeout` polls the connection before its own timer, so it returns the connection's result.
        let result = tokio::time::timeout(Duration::from_millis(50), slow.call(())).await.unwrap();
        assert_eq!(result.unwrap_err().to_string(), "connecting took too long");
    }
}
