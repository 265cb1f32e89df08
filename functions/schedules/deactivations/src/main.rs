//! Starts `deactivations::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{invoke, telemetry};
use deactivations::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("deactivations");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run_schedule("DeactivationsNotRead", async move |_: &str| deactivations::handle(&app).await).await
}
