//! POST /webhook/twilio/sms

use common::config::Configuration;
use common::{http, telemetry};
use inbound_sms::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("inbound-sms");
    let config = telemetry::or_exit(Config::load().await);
    let app = App::init(config);
    http::run(async move |request| inbound_sms::handle(&app, request).await).await
}
