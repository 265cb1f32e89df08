//! Invoked by EventBridge Scheduler; the whole function is `reconcile_tenants::handle`, this file starts it.

use common::config::Configuration;
use common::telemetry;
use lambda_runtime::{LambdaEvent, service_fn};
use reconcile_tenants::{App, Config};
use serde_json::Value;
use tracing::Instrument;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("reconcile-tenants");
    let config = telemetry::or_exit(Config::from_env());
    let app = &telemetry::or_exit(App::init(config).await);
    let serve = async |event: LambdaEvent<Value>| {
        let run = Box::pin(reconcile_tenants::handle(app, &event.context.request_id));
        run.instrument(telemetry::invocation(&event.context)).await.map_err(lambda_runtime::Error::from)
    };
    lambda_runtime::run(service_fn(serve)).await
}
