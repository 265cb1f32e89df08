//! Starts `resolve_unknown::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{invoke, telemetry};
use resolve_unknown::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("resolve-unknown");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    invoke::run_schedule("UnknownNotResolved", async move |_: &str| resolve_unknown::handle(&app).await).await
}
