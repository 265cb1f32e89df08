//! GET /templates

use common::config::Configuration;
use common::{http, telemetry};
use list_templates::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("list-templates");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| list_templates::handle(&app, request).await).await
}
