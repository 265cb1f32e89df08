//! Starts `retry_sends::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{runtime, telemetry};
use lambda_runtime::LambdaEvent;
use retry_sends::{App, Config};
use serde_json::Value;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("retry-sends");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    let serve = async move |_: LambdaEvent<Value>| {
        retry_sends::handle(&app).await.map_err(lambda_runtime::Error::from)
    };
    runtime::run(serve).await
}
