//! Connections that come in time or not at all.
//!
//! A timer alone does not see to that: a process that was stopped while it connected finds both, its connection and the end
//! of its time, when it goes on, and takes the connection. By then a STOP may have been recorded for whom it calls.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// Refuses connections that took longer, however that came about.
#[derive(Debug, Clone)]
pub(super) struct PromptLayer(pub(super) Duration);

impl<S> Layer<S> for PromptLayer {
    type Service = Prompt<S>;

    fn layer(&self, connector: S) -> Prompt<S> {
        Prompt { connector, limit: self.0 }
    }
}

/// A connector whose connections come in time.
#[derive(Debug, Clone)]
pub(super) struct Prompt<S> {
    connector: S,
    limit: Duration,
}

impl<S, R> Service<R> for Prompt<S>
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
        let (begun, limit) = (Instant::now(), self.limit);
        let connecting = self.connector.call(to);
        Box::pin(async move {
            let connection = connecting.await?;
            if begun.elapsed() > limit { Err("the connection came too late".into()) } else { Ok(connection) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects at once, in a process that is stopped for so long meanwhile.
    struct Stopped(Duration);

    impl Service<()> for Stopped {
        type Response = &'static str;
        type Error = BoxError;
        type Future = Pin<Box<dyn Future<Output = Result<&'static str, BoxError>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            let (begun, length) = (Instant::now(), self.0);
            Box::pin(async move {
                while begun.elapsed() < length {
                    std::hint::spin_loop();
                }
                Ok("connected")
            })
        }
    }

    #[tokio::test]
    async fn a_connection_of_a_process_that_was_stopped_is_refused_though_it_is_there() {
        let mut prompt = PromptLayer(Duration::from_secs(60)).layer(Stopped(Duration::ZERO));
        assert_eq!(prompt.call(()).await.unwrap(), "connected");
        let mut late = PromptLayer(Duration::from_millis(50)).layer(Stopped(Duration::from_millis(60)));
        // The timer around it has run out, too, and is asked second.
        let answer = tokio::time::timeout(Duration::from_millis(50), late.call(())).await.unwrap();
        assert_eq!(answer.unwrap_err().to_string(), "the connection came too late");
    }
}
