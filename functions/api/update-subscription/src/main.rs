//! PATCH /subscriptions/{id}

use common::config::Configuration;
use common::{http, telemetry};
use update_subscription::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("update-subscription");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| update_subscription::handle(&app, request).await).await
}
