//! Logs, metrics and request identities, in one place for all functions.
//!
//! - **Logs** are JSON lines on stdout with the keys that Lambda Powertools made standard (`log`). They carry no
//!   bodies, no phone numbers and no secrets: the last four digits of a number are all that may be shown.
//! - **Metrics** are recorded where something happens, by [`count`] and [`record`], and written once an invocation
//!   in CloudWatch's embedded metric format (`metrics`), which costs no call to anything.
//! - **Identities**: an [`invocation`] span holds Lambda's request id; within it a [`request`] span holds the id
//!   that follows one message from the webhook to the handset, through [`crate::queue`]'s message attributes.
//!
//! An OpenTelemetry exporter would be one more layer in [`init`]: spans already carry what it needs.

mod log;
mod metrics;

pub use metrics::{Metric, count, record};

use std::sync::Arc;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// Where log and metric lines go: stdout on Lambda, a buffer in tests.
pub(crate) type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// Installs the log and metric layers for the whole process.
///
/// `service` names the function in every line. The level of our own lines comes from `AWS_LAMBDA_LOG_LEVEL` (what
/// Lambda's logging controls set; `INFO` when it is absent or unknown); libraries speak from `WARN` on.
pub fn init(service: &'static str) {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let subscriber = subscriber(service, level.unwrap_or(LevelFilter::INFO), Arc::new(write_line));
    // A second call in one process (tests do that) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn subscriber(
    service: &'static str,
    level: LevelFilter,
    sink: Sink,
) -> impl tracing::Subscriber + Send + Sync {
    let libraries = level.min(LevelFilter::WARN);
    let ours = Targets::new().with_default(level);
    let quiet =
        ["aws", "hyper", "h2", "reqwest", "rustls", "tokio_postgres", "lambda_runtime", "lambda_http"]
            .into_iter()
            .fold(ours, |targets, library| targets.with_target(library, libraries));
    let quiet = quiet.with_target(metrics::TARGET, LevelFilter::OFF);
    let logs = log::JsonLines::new(service, Arc::clone(&sink)).with_filter(quiet);
    // Without a filter of its own this layer would keep every span and event of every library alive, down to TRACE:
    // 0.38 instead of 0.33 ms of CPU for a webhook, measured.
    let metrics_only = Targets::new()
        .with_target(metrics::TARGET, LevelFilter::INFO)
        .with_target(module_path!(), LevelFilter::INFO);
    let metrics = metrics::EmbeddedMetrics::new(service, sink).with_filter(metrics_only);
    Registry::default().with(logs).with(metrics)
}

fn write_line(line: &str) {
    use std::io::Write;
    // One write a line: lines of several threads never mix. A closed stdout must not stop the work.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// Returns the value, or logs why the function cannot start and ends the process.
///
/// Lambda reports the exit as a failed initialisation; the log line names every problem.
pub fn or_exit<T, E: std::error::Error + 'static>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(error = crate::error::chain(&error), "the function cannot start");
            std::process::exit(1);
        }
    }
}

/// Opens the span of one invocation; closing it writes the metrics recorded within it.
///
/// `function_request_id` is the id that Lambda's own START and REPORT lines carry.
#[must_use]
pub fn invocation(context: &lambda_runtime::Context) -> Span {
    tracing::info_span!(
        "invocation",
        function_request_id = context.request_id,
        xray_trace_id = context.xray_trace_id.as_deref()
    )
}

/// Opens the span of one request, whose `request_id` is the same in every function that touches it.
#[must_use]
pub fn request(request_id: &str) -> Span {
    tracing::info_span!("request", request_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn captured(work: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink: Sink = {
            let lines = Arc::clone(&lines);
            Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned()))
        };
        tracing::subscriber::with_default(subscriber("record-inbound", LevelFilter::INFO, sink), work);
        let lines = lines.lock().unwrap();
        lines
            .iter()
            .map(|line| {
                assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "one line each: {line:?}");
                serde_json::from_str(line).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_log_line_has_the_standard_keys_and_those_of_its_spans() {
        let lines = captured(|| {
            let mut context = lambda_runtime::Context::default();
            context.request_id = "f-1".to_owned();
            let _invocation = invocation(&context).entered();
            {
                let _request = request("r-1").entered();
                tracing::info!(records = 3, "stored \"them\"");
            }
            tracing::warn!("after");
            tracing::debug!("not shown");
        });
        assert_eq!(lines.len(), 2);
        let first = &lines[0];
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["message"], "stored \"them\"");
        assert_eq!(first["service"], "record-inbound");
        assert_eq!(first["cold_start"], true);
        assert_eq!(first["function_request_id"], "f-1");
        assert_eq!(first["request_id"], "r-1");
        assert_eq!(first["records"], 3);
        assert!(first["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(lines[1]["request_id"], serde_json::Value::Null, "the request's span was left");
        assert_eq!(lines[1]["function_request_id"], "f-1");
    }

    #[test]
    fn only_the_first_invocation_is_a_cold_start() {
        let lines = captured(|| {
            for _ in 0..2 {
                let _invocation = invocation(&lambda_runtime::Context::default()).entered();
                tracing::info!("here");
            }
        });
        let cold: Vec<_> = lines.iter().map(|line| line["cold_start"].as_bool().unwrap()).collect();
        assert_eq!(cold, [true, false]);
    }

    #[test]
    fn metrics_of_an_invocation_are_one_embedded_line_when_it_ends() {
        let lines = captured(|| {
            let _invocation = invocation(&lambda_runtime::Context::default()).entered();
            count(Metric::MessagesStored, 7);
            count(Metric::MessagesStored, 3);
            record(Metric::CreateLatency, 12.5);
            record(Metric::CreateLatency, 7.5);
        });
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(line["service"], "record-inbound");
        assert_eq!(line["messages_stored"], 10.0);
        assert_eq!(line["twilio_create_latency"], serde_json::json!([12.5, 7.5]));
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "SmsFoundation");
        assert_eq!(directive["Dimensions"], serde_json::json!([["service"]]));
        assert!(
            directive["Metrics"]
                .as_array()
                .unwrap()
                .contains(&serde_json::json!({"Name": "messages_stored", "Unit": "Count"}))
        );
    }

    #[test]
    fn an_invocation_without_metrics_writes_none() {
        assert!(captured(|| drop(invocation(&lambda_runtime::Context::default()).entered())).is_empty());
    }
}
