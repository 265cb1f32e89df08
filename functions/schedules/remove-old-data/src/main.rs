//! Starts `remove_old_data::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{invoke, telemetry};
use remove_old_data::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("remove-old-data");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run_schedule("OldDataNotRemoved", async move |_: &str| remove_old_data::handle(&app).await).await
}
