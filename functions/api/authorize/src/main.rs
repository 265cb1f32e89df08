//! The gateway's authorizer.

use authorize::{App, Config};
use common::config::Configuration;
use common::{invoke, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("authorize");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run("NotAuthorized", async move |event| authorize::handle(&app, event).await).await
}
