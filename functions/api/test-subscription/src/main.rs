//! POST /subscriptions/{id}/test

use common::config::Configuration;
use common::{http, telemetry};
use test_subscription::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("test-subscription");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| test_subscription::handle(&app, request).await).await
}
