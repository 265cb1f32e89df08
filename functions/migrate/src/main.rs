//! Applies the database migrations. Invoked directly during a deployment.
//!
//! The logic is in `migrate::handle`.

use common::config::Configuration;
use common::{invoke, telemetry};
use migrate::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("migrate");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run("MigrationFailed", async move |payload| migrate::handle(&app, payload).await).await
}
