//! GET /media/{id}

use common::config::Configuration;
use common::{http, telemetry};
use get_media::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("get-media");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    app.warm_up().await;
    http::run(async move |request| get_media::handle(&app, request).await).await
}
