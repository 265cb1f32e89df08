//! Starts the SQS consumer `identify_tenant::handle`.

use common::config::Configuration;
use common::{queue, telemetry};
use identify_tenant::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("identify-tenant");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    queue::run(async move |batch| identify_tenant::handle(&app, batch).await).await
}
