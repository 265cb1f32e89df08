//! Shared test support: a database per test, a Lambda Runtime API that runs the built binaries, an SQS server that
//! records messages and fails on demand, an S3 server, and [`eventually`], which waits for a condition.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a failed test setup should stop the test")]

mod api;
mod batch;
mod batches;
mod collector;
mod database;
pub mod environment;
mod events;
mod lambda;
mod machine;
mod receiver;
mod sends;
mod sqs;
mod storage;
mod streamed;
mod subscriptions;
mod templates;
mod webhook;

pub use api::{ApiRequest, GATEWAY_REQUEST_ID, KEY_ID, body, refusal};
pub use batch::{batch, failed};
pub use batches::{BATCH, store_batch};
pub use collector::{Collector, Exported};
pub use database::{Database, connect};
pub use events::SUBSCRIPTION_SECRET;
pub use lambda::{Function, Outcome};
pub use machine::{node_modules, processes_of, python, skipped};
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub use receiver::{Received, Receiver};
pub use sends::new_send;
pub use sqs::{Behaviour, Sent, Sqs};
pub use storage::S3;
pub use streamed::{ServerSentEvent, SseClient, Streamed};
pub use subscriptions::{OTHER_KEY_ID, SubscriptionWorld, check_outage, new_subscription};
pub use templates::new_template;
pub use webhook::{AUTH_TOKEN, BASE_URL, Webhook};

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a test waits for a condition. Long, because it only ends tests that hang, and machines may be busy.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Waits until `probe` returns a value. Calls it every 10 ms.
///
/// # Panics
///
/// If that takes more than two minutes. The message contains `what`, the condition.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out after {TIMEOUT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the seconds that may be left of a period that started after `begun`.
#[must_use]
pub fn left_of(seconds: f64, begun: Instant) -> RangeInclusive<f64> {
    // The remaining time may be rounded to a whole second.
    seconds - begun.elapsed().as_secs_f64() - 1.0..=seconds
}
