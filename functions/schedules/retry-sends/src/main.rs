//! Starts `retry_sends::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{invoke, telemetry};
use retry_sends::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("retry-sends");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    invoke::run_schedule("SweepFailed", async move |_: &str| retry_sends::handle(&app).await).await
}
