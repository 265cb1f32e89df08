//! Invoked by EventBridge Scheduler; the whole function is `resolve_unknown::handle`, this file starts it.

use common::config::Configuration;
use common::telemetry;
use lambda_runtime::{LambdaEvent, service_fn};
use resolve_unknown::{App, Config};
use serde_json::Value;
use tracing::Instrument;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("resolve-unknown");
    let config = telemetry::or_exit(Config::from_env());
    let app = &telemetry::or_exit(App::init(config).await);
    let serve = async |event: LambdaEvent<Value>| {
        let span = telemetry::invocation(&event.context);
        Box::pin(resolve_unknown::handle(app)).instrument(span).await.map_err(lambda_runtime::Error::from)
    };
    lambda_runtime::run(service_fn(serve)).await
}
