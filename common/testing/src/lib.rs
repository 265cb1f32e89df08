//! What the tests share: a database each, a Lambda Runtime API that drives the built binaries, an SQS that remembers
//! and misbehaves on demand, and a way to wait for something without sleeping blindly.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that can't be set up should say so and stop"
)]

mod api;
mod batch;
mod database;
pub mod environment;
mod lambda;
mod machine;
mod sends;
mod sqs;
mod webhook;

pub use api::{ApiRequest, GATEWAY_REQUEST_ID, KEY_ID, body, refusal};
pub use batch::{batch, failed};
pub use database::{Database, connect};
pub use lambda::{Function, Outcome};
pub use machine::{processes_of, python, skipped};
pub use sends::new_send;
pub use sqs::{Behaviour, Sent, Sqs};
pub use webhook::{AUTH_TOKEN, BASE_URL, Webhook};

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a test waits before it says that something does not happen. Nothing that is right comes near it, on however
/// busy a machine: it is there for what hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `probe` returns something, asking again every few milliseconds.
///
/// # Panics
///
/// When that has not happened within two minutes, naming `what` was waited for.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What may be left, in seconds, of a time that began after `begun`: all of it, or less by what has passed since.
#[must_use]
pub fn left_of(seconds: f64, begun: Instant) -> RangeInclusive<f64> {
    // Rounded to a whole second, by whoever counts in those.
    seconds - begun.elapsed().as_secs_f64() - 1.0..=seconds
}
