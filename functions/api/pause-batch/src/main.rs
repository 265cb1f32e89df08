//! POST /sms/bulk/{batch_id}/pause

use common::config::Configuration;
use common::{http, telemetry};
use pause_batch::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("pause-batch");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| pause_batch::handle(&app, request).await).await
}
