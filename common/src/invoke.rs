//! Functions that are invoked directly, by a person, a schedule or the gateway's authorizer: a payload in, a value
//! or a function error out.

use crate::error::chain;
use crate::telemetry;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use tracing::Instrument;

/// Serves invocations until the process is ended.
///
/// A failure becomes a function error whose type is `name` and whose message names the causes, and is logged once.
///
/// # Errors
///
/// Only what ends the runtime itself, such as a Runtime API that went away.
pub async fn run<I, O, E>(
    name: &'static str,
    handler: impl AsyncFn(I) -> Result<O, E>,
) -> Result<(), lambda_runtime::Error>
where
    I: DeserializeOwned,
    O: Serialize,
    E: Error + 'static,
{
    let handler = &handler;
    lambda_runtime::run(lambda_runtime::service_fn(|event: LambdaEvent<I>| async move {
        let span = telemetry::invocation(&event.context);
        async {
            // Boxed, as in `http`, to keep what the compiler lays out in one piece small.
            Box::pin(handler(event.payload)).await.map_err(|error| {
                let error_message = chain(&error);
                tracing::error!(error = error_message, "the invocation failed");
                Diagnostic { error_type: name.to_owned(), error_message }
            })
        }
        .instrument(span)
        .await
    }))
    .await
}
