//! GET /events/stream

use common::config::Configuration;
use common::{http, telemetry};
use stream_events::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("stream-events");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    app.warm_up().await;
    http::run_streaming(async move |request| stream_events::handle(&app, request).await).await
}
