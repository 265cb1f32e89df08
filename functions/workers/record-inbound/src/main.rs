//! Starts the SQS consumer `record_inbound::handle`.

use common::config::Configuration;
use common::{queue, telemetry};
use record_inbound::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("record-inbound");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    queue::run(async move |batch| record_inbound::handle(&app, batch).await).await
}
