//! Starts `remove_old_data::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{runtime, telemetry};
use lambda_runtime::LambdaEvent;
use remove_old_data::{App, Config};
use serde_json::Value;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("remove-old-data");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    let serve = async move |_: LambdaEvent<Value>| {
        remove_old_data::handle(&app).await.map_err(lambda_runtime::Error::from)
    };
    runtime::run(serve).await
}
