//! Starts the SQS consumer `send_outbound::handle`.

use common::config::Configuration;
use common::{queue, telemetry};
use send_outbound::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("send-outbound");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    queue::run(async move |batch| send_outbound::handle(&app, batch).await).await
}
