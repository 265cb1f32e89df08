//! The export: spans are collected in memory and sent after the response of their invocation.
//!
//! A collector that is unavailable or slow costs at most the timeout, after the response. After two failures in a row
//! nothing is sent for a while, so that it does not occupy functions that could handle other events.

use crate::{clock, tls};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanExporter as _;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor};
use std::error::Error;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// The maximum number of spans between two exports. A batch of the largest size has about 200.
const MAX_SPANS: usize = 2_048;

/// The default time limit of an export. A collector that runs as a Lambda extension responds within milliseconds.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long before the invocation's deadline an export ends at the latest, so that Lambda does not stop the function.
const BEFORE_DEADLINE: Duration = Duration::from_millis(200);

/// For how long spans are dropped after two failed exports in a row.
const PAUSE: Duration = Duration::from_secs(30);

/// The maximum idle time of a connection, which the collector or a freeze of the function may have closed.
const MAX_IDLE: Duration = Duration::from_secs(15);

static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    tracer: SdkTracer,
    finished: Finished,
    resource: Resource,
    endpoint: String,
    timeout: Duration,
    /// Created for the first export, because reading the system's root certificates would delay a cold start.
    exporter: OnceLock<Option<SpanExporter>>,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    in_a_row: u32,
    paused_until: Option<Instant>,
    dropped: usize,
}

/// Finished spans that wait for the next export.
#[derive(Debug, Clone, Default)]
struct Finished(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    spans: Vec<SpanData>,
    dropped: usize,
}

impl Finished {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanProcessor for Finished {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut waiting = self.waiting();
        if waiting.spans.len() < MAX_SPANS {
            waiting.spans.push(span);
        } else {
            waiting.dropped += 1;
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Reads a variable. An empty value counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the URL for traces: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or a path below `OTEL_EXPORTER_OTLP_ENDPOINT`.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let below = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(below))
}

/// Returns the time limit of an export.
fn timeout(variable: impl Fn(&str) -> Option<String>) -> Duration {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let millis = names.into_iter().find_map(|name| variable(name)?.parse().ok());
    millis.map_or(DEFAULT_TIMEOUT, Duration::from_millis)
}

/// Turns traces on if an endpoint is configured. The SDK reads the sampler and its limits from the environment.
pub(in crate::telemetry) fn init(service: &'static str) {
    let Some(endpoint) = endpoint(variable) else { return };
    let finished = Finished::default();
    let resource = resource(service);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(finished.clone())
        .with_resource(resource.clone())
        .build();
    let _ = TRACES.set(Traces {
        tracer: provider.tracer("sms-foundation"),
        finished,
        resource,
        endpoint,
        timeout: timeout(variable),
        exporter: OnceLock::new(),
        failures: Mutex::default(),
    });
}

/// Returns whether spans are recorded.
#[must_use]
pub(crate) fn is_on() -> bool {
    TRACES.get().is_some()
}

pub(super) fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|traces| &traces.tracer)
}

fn resource(service: &'static str) -> Resource {
    let from_environment = [
        ("service.namespace", "STACK_NAME"),
        ("cloud.region", "AWS_REGION"),
        ("faas.name", "AWS_LAMBDA_FUNCTION_NAME"),
        ("faas.version", "AWS_LAMBDA_FUNCTION_VERSION"),
        ("faas.instance", "AWS_LAMBDA_LOG_STREAM_NAME"),
    ];
    let fixed = [
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("cloud.provider", "aws"),
        ("cloud.platform", "aws_lambda"),
    ];
    let builder = Resource::builder()
        .with_attributes(fixed.map(|(key, value)| KeyValue::new(key, value)))
        .with_attributes(
            from_environment.into_iter().filter_map(|(key, name)| Some(KeyValue::new(key, variable(name)?))),
        );
    match variable("OTEL_SERVICE_NAME") {
        Some(_) => builder.build(),
        None => builder.with_service_name(service).build(),
    }
}

/// Sends the finished spans. Never fails: what cannot be sent within the timeout is dropped and logged.
///
/// `deadline` is the invocation's, in milliseconds since 1970.
pub async fn flush(deadline: u64) {
    let Some(traces) = TRACES.get() else { return };
    let Waiting { spans, dropped } = mem::take(&mut *traces.finished.waiting());
    let number = spans.len() + dropped;
    if number == 0 {
        return;
    }
    if traces.failures().is_paused(number) {
        return;
    }
    let now = u64::try_from(clock::now().as_millisecond()).unwrap_or_default();
    let left = Duration::from_millis(deadline.saturating_sub(now)).saturating_sub(BEFORE_DEADLINE);
    let error = match traces.exporter() {
        None => "the exporter is not configured".to_owned(),
        Some(exporter) => {
            match tokio::time::timeout(traces.timeout.min(left), exporter.export(spans)).await {
                Ok(Ok(())) if dropped == 0 => return traces.failures().clear(),
                Ok(Ok(())) => format!("more than {MAX_SPANS} spans"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the collector did not respond in time".to_owned(),
            }
        }
    };
    let dropped = traces.failures().failed(number);
    tracing::warn!(error, spans = dropped, "could not export traces");
}

impl Traces {
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exporter(&self) -> Option<&SpanExporter> {
        let create = || match self.create_exporter() {
            Ok(exporter) => Some(exporter),
            Err(error) => {
                tracing::error!(
                    error = crate::error::chain(&*error),
                    "could not set up the export of traces"
                );
                None
            }
        };
        self.exporter.get_or_init(create).as_ref()
    }

    /// Headers and protocol come from the environment. There are no retries: they would take longer than the timeout.
    fn create_exporter(&self) -> Result<SpanExporter, Box<dyn Error>> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&Url::parse(&self.endpoint)?)?)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(MAX_IDLE)
            .timeout(self.timeout)
            .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_retry_policy(RetryPolicy::disabled())
            .with_endpoint(&self.endpoint)
            .with_timeout(self.timeout)
            .build()?;
        exporter.set_resource(&self.resource);
        Ok(exporter)
    }
}

impl Failures {
    /// Counts the spans as dropped if there is a pause.
    fn is_paused(&mut self, spans: usize) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        if is_paused {
            self.dropped += spans;
        }
        is_paused
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the number of spans dropped since the last log line.
    fn failed(&mut self, spans: usize) -> usize {
        self.in_a_row += 1;
        if self.in_a_row > 1 {
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        mem::take(&mut self.dropped) + spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_for_traces_wins_and_the_general_one_gets_their_path() {
        let of = |pairs: &'static [(&str, &str)]| {
            endpoint(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[TRACES]).unwrap(), "http://t/x");
        assert_eq!(
            of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]).unwrap(),
            "http://c:4318/v1/traces"
        );
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), TRACES]).unwrap(), "http://t/x");
    }

    #[test]
    fn two_failures_in_a_row_cause_a_pause_and_every_dropped_span_is_counted_once() {
        let mut failures = Failures::default();
        assert!(!failures.is_paused(1));
        assert_eq!(failures.failed(1), 1);
        assert!(!failures.is_paused(2), "a single failure may be a connection that died while frozen");
        assert_eq!(failures.failed(2), 2);
        assert!(failures.is_paused(3) && failures.is_paused(4));
        failures.paused_until = Some(Instant::now());
        assert!(!failures.is_paused(5));
        assert_eq!(failures.failed(5), 12);
        failures.clear();
        assert!(!failures.is_paused(1));
    }
}
