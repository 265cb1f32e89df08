//! GET /openapi.json and GET /docs

use common::{http, telemetry};
use openapi::App;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init("openapi");
    let app = telemetry::or_exit(App::init());
    http::run(async move |request| Ok(openapi::handle(&app, request))).await
}
