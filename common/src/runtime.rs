//! Runs a function: handles one event after the other, each in the span of its invocation.

use crate::telemetry::{self, traces};
use bytes::Bytes;
use futures::Stream;
use lambda_runtime::{Diagnostic, IntoFunctionResponse, LambdaEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tracing::Instrument;

#[cfg(feature = "traces")]
mod flushing;

/// Handles events until the process ends. The handler returns a value, which is sent as JSON, or a
/// [`lambda_runtime::StreamResponse`].
///
/// # Errors
///
/// When the runtime itself fails, such as when the Runtime API is unavailable.
///
/// # Panics
///
/// In a tokio runtime that does not have the `local` flavor.
pub async fn run<I, R, E, O, S, D, F>(
    handler: impl AsyncFn(LambdaEvent<I>) -> Result<R, E> + 'static,
) -> Result<(), lambda_runtime::Error>
where
    I: DeserializeOwned + 'static,
    R: IntoFunctionResponse<O, S> + 'static,
    E: Into<Diagnostic> + Debug + 'static,
    O: Serialize + 'static,
    S: Stream<Item = Result<D, F>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send + 'static,
    F: Into<lambda_runtime::Error> + Send + Debug + 'static,
{
    let serving = async move {
        let handler = &handler;
        let service = lambda_runtime::service_fn(|event: LambdaEvent<I>| async move {
            let span = telemetry::invocation(&event.context);
            traces::begin_invocation(&event.context);
            // Boxed: the state of a whole handler by value is too deeply nested for the compiler.
            Box::pin(handler(event)).instrument(span).await
        });
        #[cfg(feature = "traces")]
        return flushing::run(service).await;
        #[cfg(not(feature = "traces"))]
        lambda_runtime::run(service).await
    };
    // A spawned task saves a system call whenever a response arrives (decision 13).
    tokio::task::spawn_local(serving).await?
}
