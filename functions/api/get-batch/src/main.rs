//! GET /sms/bulk/{batch_id}

use common::config::Configuration;
use common::{http, telemetry};
use get_batch::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("get-batch");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| get_batch::handle(&app, request).await).await
}
