//! POST /consent/import

use common::config::Configuration;
use common::{http, telemetry};
use import_consent::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("import-consent");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    app.warm_up().await;
    http::run(async move |request| import_consent::handle(&app, request).await).await
}
