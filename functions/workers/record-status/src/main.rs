//! Starts the SQS consumer `record_status::handle`.

use common::config::Configuration;
use common::{queue, telemetry};
use record_status::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("record-status");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    queue::run(async move |batch| record_status::handle(&app, batch).await).await
}
