//! Logs, metrics and request ids.
//!
//! - **Logs** are JSON lines on stdout with the keys of Powertools for AWS Lambda (`log`). They contain no message
//!   texts,
//!   phone numbers or secrets; the last four digits of a number are allowed.
//! - **Metrics** are recorded with [`count`] and [`record`] and written once per invocation in CloudWatch's embedded
//!   metric
//!   format (`metrics`), which needs no API call.
//! - **Request ids**: the [`invocation`] span has Lambda's request id. Inside it, the [`request`] span has our request
//!   id,
//!   which message attributes ([`crate::queue`]) pass from function to function.
//!
//! - **Traces** are optional: [`traces`].

mod log;
mod metrics;
pub mod traces;

pub use metrics::{
    FUNCTIONS, Kind, Metric, NAMESPACE, OF_STACK, OTHER, Unit, count, count_error, count_outcome, record,
};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// The name of the last log event of an invocation, which is written in one line with the invocation's metrics.
///
/// This saves one write per response, and log volume for rejected requests. Do not await between this event and the end
/// of the invocation: the line is lost if the function is stopped in between.
pub const LAST_LINE: &str = "last line";

/// The name of the span of [`invocation`].
const INVOCATION: &str = "invocation";

/// The destination of log and metric lines.
struct Output {
    /// Stdout on Lambda, a buffer in tests.
    sink: Box<dyn Fn(&str) + Send + Sync>,
    /// Lines that are written together with the next one.
    held: Mutex<String>,
}

impl Output {
    fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { sink: Box::new(sink), held: Mutex::default() })
    }

    /// Writes the held lines and `lines` in a single write, so that lines of several threads do not mix.
    fn write(&self, lines: &str) {
        let lines = std::mem::take(&mut *self.held()) + lines;
        if !lines.is_empty() {
            (self.sink)(&lines);
        }
    }

    /// Writes metrics objects, given as their members: the first is appended to the held line, the others are lines of
    /// their own with `service`.
    fn write_metrics(&self, objects: &[String], service: &str) {
        let held = std::mem::take(&mut *self.held());
        let mut lines = String::with_capacity(held.len() + 512);
        for members in objects {
            match held.strip_suffix("}\n").filter(|_| lines.is_empty()) {
                Some(open) => lines.extend([open, ",", members, "}\n"]),
                None => lines.extend(["{\"service\":\"", service, "\",", members, "}\n"]),
            }
        }
        (self.sink)(&lines);
    }

    fn hold(&self, line: &str) {
        self.held().push_str(line);
    }

    fn held(&self) -> MutexGuard<'_, String> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Installs the log and metric layers for the process.
///
/// `service` is the function's name, which is part of each line. The log level comes from `AWS_LAMBDA_LOG_LEVEL`, which
/// is set by Lambda's logging configuration (default `INFO`); libraries log at `WARN` and above. `STACK_NAME` is a
/// dimension of the metrics. The variables of traces are listed in `common/docs/configuration.md`.
pub fn init(service: &'static str) {
    let stack = std::env::var("STACK_NAME").ok().filter(|name| !name.is_empty());
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let output = Output::new(write_to_stdout);
    let subscriber = subscriber(service, stack, level.unwrap_or(LevelFilter::INFO), output);
    // In tests, a second call keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
    traces::init(service);
}

fn subscriber(
    service: &'static str,
    stack: Option<String>,
    level: LevelFilter,
    output: Arc<Output>,
) -> impl tracing::Subscriber + Send + Sync {
    let libraries = level.min(LevelFilter::WARN);
    let ours = Targets::new().with_default(level);
    let quiet =
        ["aws", "hyper", "h2", "reqwest", "rustls", "tokio_postgres", "lambda_runtime", "lambda_http"]
            .into_iter()
            .fold(ours, |targets, library| targets.with_target(library, libraries));
    let quiet = quiet.with_target(metrics::TARGET, LevelFilter::OFF);
    let logs = log::JsonLines::new(service, Arc::clone(&output)).with_filter(quiet);
    // Without its own filter, this layer would enable all spans and events of libraries down to TRACE: 0.38 instead of
    // 0.33 ms of CPU per webhook.
    let metrics_only = Targets::new()
        .with_target(metrics::TARGET, LevelFilter::INFO)
        .with_target(module_path!(), LevelFilter::INFO);
    let metrics = metrics::EmbeddedMetrics::new(service, stack, output).with_filter(metrics_only);
    Registry::default().with(logs).with(metrics)
}

fn write_to_stdout(lines: &str) {
    use std::io::Write;
    // A closed stdout must not fail the invocation.
    let _ = std::io::stdout().lock().write_all(lines.as_bytes());
}

/// Returns the value, or logs the error and exits, which Lambda reports as a failed initialization.
pub fn or_exit<T, E: std::error::Error + 'static>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(error = crate::error::chain(&error), "function startup failed");
            std::process::exit(1);
        }
    }
}

/// Returns the span of one invocation. When it closes, its metrics are written.
///
/// `function_request_id` is the request id in Lambda's START and REPORT lines.
#[must_use]
pub fn invocation(context: &lambda_runtime::Context) -> Span {
    tracing::info_span!(
        INVOCATION,
        function_request_id = context.request_id,
        xray_trace_id = context.xray_trace_id.as_deref()
    )
}

/// Returns the span of one request, whose `request_id` is the same in all functions that process it.
#[must_use]
pub fn request(request_id: &str) -> Span {
    tracing::info_span!("request", request_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn logged_lines(work: impl FnOnce()) -> Vec<serde_json::Value> {
        let writes = writes(work);
        let lines = writes.iter().flat_map(|write| write.lines());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn writes(work: impl FnOnce()) -> Vec<String> {
        let writes: Arc<Mutex<Vec<String>>> = Arc::default();
        let output = {
            let writes = Arc::clone(&writes);
            Output::new(move |lines: &str| writes.lock().unwrap().push(lines.to_owned()))
        };
        let stack = Some("sms".to_owned());
        let subscriber = subscriber("record-inbound", stack, LevelFilter::INFO, output);
        tracing::subscriber::with_default(subscriber, work);
        let writes = writes.lock().unwrap();
        assert!(writes.iter().all(|write| write.ends_with('\n')), "whole lines: {writes:?}");
        writes.clone()
    }

    #[test]
    fn a_log_line_has_the_standard_keys_and_the_fields_of_its_spans() {
        let lines = logged_lines(|| {
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
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["cold_starts"], 1.0);
        let first = &lines[0];
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["message"], "stored \"them\"");
        assert_eq!(first["service"], "record-inbound");
        assert_eq!(first["cold_start"], true);
        assert_eq!(first["function_request_id"], "f-1");
        assert_eq!(first["request_id"], "r-1");
        assert_eq!(first["records"], 3);
        assert!(first["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(lines[1]["request_id"], serde_json::Value::Null, "outside the request span");
        assert_eq!(lines[1]["function_request_id"], "f-1");
    }

    #[test]
    fn only_the_first_invocation_is_a_cold_start() {
        let lines = logged_lines(|| {
            for _ in 0..2 {
                let _invocation = invocation(&lambda_runtime::Context::default()).entered();
                tracing::info!("here");
            }
        });
        let cold: Vec<_> = lines.iter().filter_map(|line| line["cold_start"].as_bool()).collect();
        assert_eq!(cold, [true, false]);
        assert_eq!(lines.iter().filter(|line| line["cold_starts"] == 1.0).count(), 1);
    }

    #[test]
    fn the_metrics_of_an_invocation_are_written_in_one_line_at_its_end() {
        let lines = logged_lines(|| {
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
        assert_eq!(directive["Dimensions"], serde_json::json!([["stack", "service"]]));
        assert_eq!(line["stack"], "sms", "two stacks in one account have separate metrics");
        assert!(
            directive["Metrics"]
                .as_array()
                .unwrap()
                .contains(&serde_json::json!({"Name": "messages_stored", "Unit": "Count"}))
        );
    }

    #[test]
    fn metrics_with_one_outcome_are_in_the_line_and_each_further_outcome_has_a_line() {
        let lines = logged_lines(|| {
            let _invocation = invocation(&lambda_runtime::Context::default()).entered();
            count(Metric::MessagesStored, 3);
            count_outcome(Metric::LanguagesDetected, "es", 2);
            count_outcome(Metric::LanguagesDetected, "en", 1);
            count_error("not on the list");
            tracing::info!(name: LAST_LINE, "done");
        });
        let directives = |line: &serde_json::Value| -> Vec<serde_json::Value> {
            let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap().iter();
            directives
                .map(|directive| serde_json::json!([directive["Dimensions"], directive["Metrics"]]))
                .collect()
        };
        let counted = |name: &str| serde_json::json!({"Name": name, "Unit": "Count"});
        let with_outcome = serde_json::json!([["stack", "service", "outcome"]]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!((&lines[0]["message"], &lines[0]["outcome"]), (&"done".into(), &"en".into()));
        assert_eq!(
            (&lines[0]["messages_stored"], &lines[0]["languages_detected"]),
            (&3.0.into(), &1.0.into())
        );
        let expected = [
            serde_json::json!([[["stack", "service"]], [counted("messages_stored"), counted("cold_starts")]]),
            serde_json::json!([with_outcome, [counted("languages_detected")]]),
        ];
        assert_eq!(directives(&lines[0]), expected);
        assert_eq!((&lines[1]["outcome"], &lines[1]["languages_detected"]), (&"es".into(), &2.0.into()));
        assert_eq!((&lines[1]["service"], &lines[1]["stack"]), (&"record-inbound".into(), &"sms".into()));
        assert_eq!(
            directives(&lines[1]),
            [serde_json::json!([with_outcome, [counted("languages_detected")]])]
        );
        assert_eq!((&lines[2]["outcome"], &lines[2]["errors"]), (&OTHER.into(), &1.0.into()));
    }

    #[test]
    fn failures_of_the_api_are_also_counted_for_the_whole_stack() {
        let lines = logged_lines(|| {
            let _invocation = invocation(&lambda_runtime::Context::default()).entered();
            count(Metric::ApiFailures, 1);
            count(Metric::MessagesStored, 3);
        });
        assert_eq!((&lines[0]["api_failures"], &lines[0]["messages_stored"]), (&1.0.into(), &3.0.into()));
        let directives = lines[0]["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        let of = |name: &str| {
            let mut found =
                directives.iter().filter(|directive| directive["Metrics"].to_string().contains(name));
            (found.next().map(|directive| directive["Dimensions"].clone()), found.next())
        };
        let of_service = serde_json::json!([["stack", "service"]]);
        assert_eq!(of("api_failures"), (Some(serde_json::json!([["stack", "service"], ["stack"]])), None));
        assert_eq!(of("messages_stored"), (Some(of_service.clone()), None));
        assert_eq!(of("cold_starts"), (Some(of_service), None));
    }

    #[test]
    fn counters_are_added_up_and_the_last_value_of_a_gauge_counts() {
        let lines = logged_lines(|| {
            let _invocation = invocation(&lambda_runtime::Context::default()).entered();
            for value in [7.0, 5.0] {
                record(Metric::OldBytesRemoved, value);
                record(Metric::SpoolBacklog, value);
            }
            (0..150).for_each(|_| record(Metric::QueueAge, 0.123_456));
        });
        assert_eq!((&lines[0]["old_data_removed"], &lines[0]["spool_backlog"]), (&12.0.into(), &5.0.into()));
        assert_eq!(
            lines[0]["queue_age"],
            serde_json::json!(vec![0.123; 100]),
            "CloudWatch accepts 100 values"
        );
    }

    #[test]
    fn the_innermost_of_two_fields_with_the_same_name_is_logged() {
        let lines = logged_lines(|| {
            let _outer = request("outer").entered();
            let inner = tracing::info_span!("inner", request_id = "inner", late = tracing::field::Empty);
            let _inner = inner.clone().entered();
            inner.record("late", 1).record("late", 2);
            tracing::info!("within");
            tracing::info!(request_id = "event", "itself");
        });
        assert_eq!(lines[0]["request_id"], "inner");
        assert_eq!(lines[0]["late"], 2);
        assert_eq!(lines[1]["request_id"], "event");
    }

    #[test]
    fn the_last_line_of_an_invocation_contains_its_metrics() {
        let writes = writes(|| {
            let mut context = lambda_runtime::Context::default();
            context.request_id = "f-1".to_owned();
            invocation(&context).in_scope(|| {
                tracing::info!("before");
                count(Metric::WebhooksAccepted, 1);
                let _request = request("r-1").entered();
                tracing::info!(name: LAST_LINE, status = 200, "response sent");
            });
        });
        assert_eq!(writes.len(), 2);
        let lines: Vec<&str> = writes[1].lines().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].matches("\"service\":").count(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((&line["message"], &line["request_id"]), (&"response sent".into(), &"r-1".into()));
        assert_eq!((&line["webhooks_accepted"], &line["status"]), (&1.0.into(), &200.into()));
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Metrics"][0]["Name"], "webhooks_accepted");
        assert_eq!(line[directive["Dimensions"][0][1].as_str().unwrap()], "record-inbound");
    }

    #[test]
    fn a_last_line_is_written_without_metrics_or_outside_an_invocation() {
        let writes = writes(|| {
            invocation(&lambda_runtime::Context::default())
                .in_scope(|| tracing::info!(name: LAST_LINE, "within"));
            tracing::info!(name: LAST_LINE, "outside");
        });
        assert!(writes[0].contains("within") && writes[1].contains("outside"), "{writes:?}");
    }

    #[test]
    fn a_line_after_the_last_line_keeps_the_order() {
        let writes = writes(|| {
            let _invocation = invocation(&lambda_runtime::Context::default()).entered();
            tracing::info!(name: LAST_LINE, "first");
            tracing::warn!("second");
        });
        let lines: Vec<&str> = writes.iter().flat_map(|write| write.lines()).collect();
        assert!(lines[0].contains("first") && lines[1].contains("second") && lines.len() == 3, "{lines:?}");
    }

    #[test]
    fn an_invocation_without_metrics_writes_no_line() {
        let lines = logged_lines(|| {
            for _ in 0..2 {
                drop(invocation(&lambda_runtime::Context::default()).entered());
            }
        });
        assert_eq!(lines.len(), 1, "only the cold start is counted: {lines:?}");
    }
}
