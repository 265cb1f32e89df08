//! GET /health

use common::config::Configuration;
use common::{http, telemetry};
use health::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("health");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    http::run(async move |request| health::handle(&app, request).await).await
}
