//! Exports traces after each response and before the next event.
//!
//! The caller has its response by then. Lambda freezes the function only when it asks for the next event.

use crate::telemetry::traces;
use bytes::Bytes;
use futures::future::{LocalBoxFuture, Then};
use futures::{FutureExt, Stream};
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Diagnostic, IntoFunctionResponse, LambdaEvent, LambdaInvocation, Runtime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// As `lambda_runtime::run`, which has no place for another layer.
pub(super) async fn run<H, I, R, O, S, D, F>(handler: H) -> Result<(), lambda_runtime::Error>
where
    H: Service<LambdaEvent<I>, Response = R>,
    H::Future: Future<Output = Result<R, H::Error>>,
    H::Error: Into<Diagnostic> + Debug,
    I: DeserializeOwned,
    R: IntoFunctionResponse<O, S>,
    O: Serialize,
    S: Stream<Item = Result<D, F>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    F: Into<lambda_runtime::Error> + Send + Debug,
{
    Runtime::new(handler).layer(TracingLayer::new()).layer(Flush).run().await
}

struct Flush;

impl<S> Layer<S> for Flush {
    type Service = Flushing<S>;

    fn layer(&self, inner: S) -> Flushing<S> {
        Flushing(inner)
    }
}

struct Flushing<S>(S);

type Outcome = Result<(), lambda_runtime::Error>;
type Flushed = LocalBoxFuture<'static, Outcome>;

impl<S> Service<LambdaInvocation> for Flushing<S>
where
    S: Service<LambdaInvocation, Response = (), Error = lambda_runtime::Error>,
{
    type Response = ();
    type Error = lambda_runtime::Error;
    type Future = Then<S::Future, Flushed, Box<dyn FnOnce(Outcome) -> Flushed>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let deadline = invocation.context.deadline;
        // The inner service sends the response to the Runtime API.
        self.0.call(invocation).then(Box::new(move |outcome| {
            async move {
                traces::flush(deadline).await;
                outcome
            }
            .boxed_local()
        }))
    }
}
