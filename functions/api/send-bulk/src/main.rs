//! POST /sms/bulk

use common::config::Configuration;
use common::{http, telemetry};
use send_bulk::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("send-bulk");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    app.warm_up().await;
    http::run(async move |request| send_bulk::handle(&app, request).await).await
}
