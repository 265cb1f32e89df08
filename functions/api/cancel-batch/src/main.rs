//! POST /sms/bulk/{batch_id}/cancel

use cancel_batch::{App, Config};
use common::config::Configuration;
use common::{http, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("cancel-batch");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| cancel_batch::handle(&app, request).await).await
}
