//! Exports traces after each response and before the next event.
//!
//! The caller has its response by then. Lambda freezes the function only when it asks for the next event.

use crate::telemetry::traces;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Then};
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// As `lambda_runtime::run`, which has no place for another layer.
pub(super) async fn run<F, I, O>(handler: F) -> Result<(), lambda_runtime::Error>
where
    F: Service<LambdaEvent<I>, Response = O>,
    F::Future: Future<Output = Result<O, F::Error>>,
    F::Error: Into<Diagnostic> + Debug,
    I: DeserializeOwned,
    O: Serialize,
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
