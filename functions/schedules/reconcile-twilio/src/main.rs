//! Starts `reconcile_twilio::handle`, invoked by EventBridge Scheduler, or by an operator with a time window.

use common::config::Configuration;
use common::{invoke, telemetry};
use reconcile_twilio::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("reconcile-twilio");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config));
    invoke::run("NotReconciled", async move |payload| reconcile_twilio::handle(&app, payload).await).await
}
