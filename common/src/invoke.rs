//! Functions that are invoked directly: by an operator, by a schedule, or by the gateway as its authorizer.

use crate::error::chain;
use crate::runtime;
use crate::telemetry;
use crate::telemetry::traces::{Kind, Span};
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;

/// Handles invocations until the process ends.
///
/// A failure is logged once and becomes a function error with the type `name` and all causes in its message.
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
    runtime::run(async move |event| {
        let span = Span::of_invocation(Kind::Server, "other", name, None, &[]);
        span.wrap(handler(event.payload)).await.map_err(|error| {
            span.fail("function_error");
            let error_message = chain(&error);
            telemetry::count_error("invocation_failed");
            tracing::error!(error = error_message, "invocation failed");
            Diagnostic { error_type: name.to_owned(), error_message }
        })
    })
    .await
}
