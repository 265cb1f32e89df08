//! Starts the SQS consumer `store_media::handle`.

use common::config::Configuration;
use common::{queue, telemetry};
use store_media::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("store-media");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    queue::run(async move |batch| store_media::handle(&app, batch).await).await
}
