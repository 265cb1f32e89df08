//! POST /webhook/twilio/status

use common::config::Configuration;
use common::{http, telemetry};
use delivery_status::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("delivery-status");
    let config = telemetry::or_exit(Config::load().await);
    let app = App::init(config);
    http::run(async move |request| delivery_status::handle(&app, request).await).await
}
