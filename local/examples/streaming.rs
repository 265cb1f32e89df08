//! A function that streams its response, for the tests of the local stack. The query of its URL selects what it does
//! after the first line, which is its process ID.

use std::path::Path;
use std::time::Duration;

use lambda_runtime::streaming::{Body, Sender, channel};
use lambda_runtime::{Error, LambdaEvent, MetadataPrelude, StreamResponse, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<StreamResponse<Body>, Error> {
    let query = event.payload["rawQueryString"].as_str().unwrap_or_default().to_owned();
    if query == "error" {
        return Err("requested error".into());
    }
    let (sender, stream) = channel();
    tokio::spawn(write(sender, query));
    let mut metadata_prelude =
        MetadataPrelude { status_code: http::StatusCode::ACCEPTED, ..Default::default() };
    metadata_prelude.headers.insert("content-type", "text/event-stream".parse()?);
    metadata_prelude.cookies.push("a=1".to_owned());
    Ok(StreamResponse { metadata_prelude, stream })
}

async fn write(mut sender: Sender, query: String) {
    let _ = sender.send_data(format!("{}\n", std::process::id()).into()).await;
    match query.split_once('=') {
        None if query == "crash" => std::process::exit(1),
        None if query == "hang" => std::future::pending().await,
        // Waits until the test has created a file.
        Some(("crash", file)) => {
            exists(file).await;
            std::process::exit(1)
        }
        Some(("until", file)) => {
            exists(file).await;
            let _ = sender.send_data("end\n".into()).await;
        }
        // More than a buffered response may have.
        None if query == "large" => {
            for _ in 0..128 {
                let _ = sender.send_data(vec![b'x'; 64 * 1024].into()).await;
            }
        }
        _ => {}
    }
}

async fn exists(file: &str) {
    while !Path::new(file).exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
