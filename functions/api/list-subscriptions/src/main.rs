//! GET /subscriptions

use common::config::Configuration;
use common::{http, telemetry};
use list_subscriptions::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("list-subscriptions");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| list_subscriptions::handle(&app, request).await).await
}
