//! PUT /templates/{id}

use common::config::Configuration;
use common::{http, telemetry};
use update_template::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("update-template");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| update_template::handle(&app, request).await).await
}
