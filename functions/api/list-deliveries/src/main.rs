//! GET /subscriptions/{id}/deliveries

use common::config::Configuration;
use common::{http, telemetry};
use list_deliveries::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("list-deliveries");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| list_deliveries::handle(&app, request).await).await
}
