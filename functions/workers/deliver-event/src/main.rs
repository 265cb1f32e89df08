//! Starts the SQS consumer `deliver_event::handle`.

use common::config::Configuration;
use common::{queue, telemetry};
use deliver_event::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("deliver-event");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    queue::run(async move |batch| deliver_event::handle(&app, batch).await).await
}
