//! Invoked directly: decides on unknown sends, tries failed ones again, and lists both.
//!
//! The whole function is `manage_sends::handle`; this file starts it.

use common::config::Configuration;
use common::{invoke, telemetry};
use manage_sends::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("manage-sends");
    let config = telemetry::or_exit(Config::from_env());
    let app = telemetry::or_exit(App::init(&config));
    invoke::run("SendNotManaged", async move |payload| manage_sends::handle(&app, payload).await).await
}
