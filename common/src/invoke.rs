//! Functions that are invoked directly, by a person, a schedule or the gateway's authorizer: a payload in, a value
//! or a function error out.

use crate::error::chain;
use crate::runtime;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;

/// Serves invocations until the process is ended.
///
/// A failure becomes a function error whose type is `name` and whose message names the causes, and is logged once.
///
/// # Errors
///
/// Only what ends the runtime itself, such as a Runtime API that went away.
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
        handler(event.payload).await.map_err(|error| {
            let error_message = chain(&error);
            tracing::error!(error = error_message, "the invocation failed");
            Diagnostic { error_type: name.to_owned(), error_message }
        })
    })
    .await
}
