//! POST /subscriptions/{id}/rotate-secret

use common::config::Configuration;
use common::{http, telemetry};
use rotate_secret::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("rotate-secret");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| rotate_secret::handle(&app, request).await).await
}
