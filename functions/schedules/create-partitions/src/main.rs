//! Starts `create_partitions::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{runtime, telemetry};
use create_partitions::{App, Config};
use lambda_runtime::LambdaEvent;
use serde::de::IgnoredAny;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("create-partitions");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    let serve = async move |_: LambdaEvent<IgnoredAny>| {
        create_partitions::handle(&app).await.map_err(lambda_runtime::Error::from)
    };
    runtime::run(serve).await
}
