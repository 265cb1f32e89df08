//! Starts `create_partitions::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{invoke, telemetry};
use create_partitions::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("create-partitions");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run_schedule("PartitionsNotCreated", async move |_: &str| create_partitions::handle(&app).await)
        .await
}
