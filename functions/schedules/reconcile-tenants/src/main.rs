//! Starts `reconcile_tenants::handle`, invoked by EventBridge Scheduler.

use common::config::Configuration;
use common::{invoke, telemetry};
use reconcile_tenants::{App, Config};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("reconcile-tenants");
    let config = telemetry::or_exit(Config::load().await);
    let app = telemetry::or_exit(App::init(config).await);
    invoke::run_schedule("TenantsNotReconciled", async move |request_id: &str| {
        reconcile_tenants::handle(&app, request_id).await
    })
    .await
}
