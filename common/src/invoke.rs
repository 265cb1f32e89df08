//! Functions that are invoked directly: by an operator, by a schedule, or by the gateway as its authorizer.
//!
//! A failure is logged once and becomes a function error with the type `name` and all causes in its message.

use crate::error::chain;
use crate::runtime;
use crate::telemetry;
use crate::telemetry::traces::{Kind, Span};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::error::Error;

/// Handles invocations until the process ends.
///
/// # Errors
///
/// When the runtime itself fails, such as when the Runtime API is unavailable.
pub async fn run<I, O, E>(
    name: &'static str,
    handler: impl AsyncFn(I) -> Result<O, E> + 'static,
) -> Result<(), lambda_runtime::Error>
where
    I: DeserializeOwned + 'static,
    O: Serialize + 'static,
    E: Error + 'static,
{
    runtime::run(async move |event: LambdaEvent<I>| invoke(name, handler(event.payload)).await).await
}

/// Handles the events of a schedule until the process ends. The handler gets the id of the invocation.
///
/// # Errors
///
/// As [`run`].
pub async fn run_schedule<O, E>(
    name: &'static str,
    handler: impl AsyncFn(&str) -> Result<O, E> + 'static,
) -> Result<(), lambda_runtime::Error>
where
    O: Serialize + 'static,
    E: Error + 'static,
{
    let serve =
        async move |event: LambdaEvent<IgnoredAny>| invoke(name, handler(&event.context.request_id)).await;
    runtime::run(serve).await
}

async fn invoke<O, E: Error + 'static>(
    name: &'static str,
    work: impl Future<Output = Result<O, E>>,
) -> Result<O, Diagnostic> {
    let span = Span::of_invocation(Kind::Server, "other", name, None, &[]);
    span.wrap(work).await.map_err(|error| {
        span.fail("function_error");
        let error_message = chain(&error);
        telemetry::count_error("invocation_failed");
        tracing::error!(error = error_message, "invocation failed");
        Diagnostic { error_type: name.to_owned(), error_message }
    })
}
