//! POST /subscriptions/{id}/replay

use common::config::Configuration;
use common::{http, telemetry};
use replay_events::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("replay-events");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    app.warm_up().await;
    http::run(async move |request| replay_events::handle(&app, request).await).await
}
