//! Resolves unknown sends, retries failed ones, and lists both. Invoked directly by an operator.
//!
//! The logic is in `manage_sends::handle`.

use common::config::Configuration;
use common::{invoke, telemetry};
use manage_sends::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("manage-sends");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run("SendNotManaged", async move |payload| manage_sends::handle(&app, payload).await).await
}
