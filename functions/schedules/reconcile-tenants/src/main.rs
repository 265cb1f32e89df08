//! Starts `reconcile_tenants::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{runtime, telemetry};
use lambda_runtime::LambdaEvent;
use reconcile_tenants::{App, Config};
use serde_json::Value;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("reconcile-tenants");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    let serve = async move |event: LambdaEvent<Value>| {
        reconcile_tenants::handle(&app, &event.context.request_id).await.map_err(lambda_runtime::Error::from)
    };
    runtime::run(serve).await
}
