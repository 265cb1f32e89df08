//! Creates, lists and revokes API keys. Invoked directly by an operator.
//!
//! The logic is in `manage_keys::handle`.

use common::config::Configuration;
use common::{invoke, telemetry};
use manage_keys::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("manage-keys");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(&config));
    invoke::run("KeyNotManaged", async move |payload| manage_keys::handle(&app, payload).await).await
}
