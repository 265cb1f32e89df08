//! Lists archived months and restores them. Invoked directly by an operator.
//!
//! The logic is in `manage_archives::handle`.

use common::config::Configuration;
use common::{invoke, telemetry};
use manage_archives::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("manage-archives");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run("ArchiveNotManaged", async move |payload| manage_archives::handle(&app, payload).await).await
}
