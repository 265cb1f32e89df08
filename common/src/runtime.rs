//! The Runtime API's side of a function: one event after the other, each within its invocation's span.

use crate::telemetry;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt::Debug;
use tracing::Instrument;

/// Serves events until the process is ended.
///
/// # Errors
///
/// Only what ends the runtime itself, such as a Runtime API that went away.
///
/// # Panics
///
/// On a runtime of tokio's that is not of the `local` flavor.
pub async fn run<I, O, E>(
    handler: impl AsyncFn(LambdaEvent<I>) -> Result<O, E> + 'static,
) -> Result<(), lambda_runtime::Error>
where
    I: DeserializeOwned + 'static,
    O: Serialize + 'static,
    E: Into<Diagnostic> + Debug + 'static,
{
    let serving = async move {
        let handler = &handler;
        lambda_runtime::run(lambda_runtime::service_fn(|event: LambdaEvent<Event<I>>| async move {
            let span = telemetry::invocation(&event.context);
            let event = LambdaEvent { payload: event.payload.0, context: event.context };
            // Boxed: the state of a whole handler by value is more nesting than the compiler likes to lay out.
            Box::pin(handler(event)).instrument(span).await
        }))
        .await
    };
    // As a task: when an answer wakes what the runtime itself waits for, it first asks the kernel for other news.
    tokio::task::spawn_local(serving).await?
}

/// An event of the Runtime API.
///
/// `lambda_runtime` keeps the path to every value that it reads, for the message should one be wrong. Here it skips over
/// the whole event, which is read after that; a wrong value is found by its line and column.
#[derive(Debug)]
struct Event<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Event<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Box::<RawValue>::deserialize(deserializer)?;
        serde_json::from_str(event.get()).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let event: Event<Vec<u8>> = serde_json::from_str("[1, 2]").unwrap();
        assert_eq!(event.0, [1, 2]);
        let error = serde_json::from_str::<Event<Vec<u8>>>("[1, true]").unwrap_err();
        assert!(error.to_string().contains("invalid type: boolean `true`"), "{error}");
        assert!(error.to_string().contains("line 1 column 8"), "{error}");
    }
}
