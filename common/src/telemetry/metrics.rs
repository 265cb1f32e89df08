//! Metrics in CloudWatch's embedded metric format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//!
//! The local stack reads the same lines and exports them in Prometheus format.

mod list;

pub use list::{FUNCTIONS, Kind, Metric, NAMESPACE, OTHER, Unit};

use super::Output;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::Id;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The maximum number of values of one metric in one line, according to the specification.
const MAX_VALUES: usize = 100;

/// The tracing target of metric events.
pub(super) const TARGET: &str = "metric";

/// Adds `by` to a counter.
pub fn count(metric: Metric, by: usize) {
    if by > 0 {
        record(metric, by as f64);
    }
}

/// Records a value, which is combined with the others of the invocation as the metric's [`Kind`] says.
pub fn record(metric: Metric, value: f64) {
    tracing::info!(target: TARGET, metric = metric as u64, value);
}

/// Adds `by` to a counter with the dimension `outcome`.
///
/// An outcome that is not on the metric's list counts as [`OTHER`].
pub fn count_outcome(metric: Metric, outcome: &'static str, by: usize) {
    if by > 0 {
        tracing::info!(target: TARGET, metric = metric as u64, outcome, value = by as f64);
    }
}

/// Counts an error, by its kind.
pub fn count_error(outcome: &'static str) {
    count_outcome(Metric::Errors, outcome, 1);
}

/// A metric, after its outcome, so that the values of each outcome are together.
type Key = (Option<&'static str>, Metric);

/// The metric that CloudWatch also adds up for all functions of a stack. Deployments watch it: an alarm on the API's
/// own 5xx would refer to the API, which refers to the aliases, which refer to the alarms of their deployments.
pub const OF_STACK: Metric = Metric::ApiFailures;

/// Metrics with their values.
type Recorded<'a> = &'a [(Metric, &'a [f64])];

/// Collects metric events and writes them when the invocation span closes.
pub(super) struct EmbeddedMetrics {
    service: &'static str,
    /// The stack's name, so that two stacks in one account have separate metrics.
    stack: Option<String>,
    output: Arc<Output>,
    values: Mutex<BTreeMap<Key, Vec<f64>>>,
    /// Whether the first invocation of the process has been counted.
    has_started: AtomicBool,
}

impl EmbeddedMetrics {
    pub(super) fn new(service: &'static str, stack: Option<String>, output: Arc<Output>) -> Self {
        Self { service, stack, output, values: Mutex::default(), has_started: AtomicBool::new(false) }
    }

    /// Writes the metrics of an invocation: one object for those without an outcome together with the first outcome,
    /// and one for each further outcome, because an object has one value of each dimension.
    fn flush(&self) {
        let mut values = std::mem::take(&mut *self.values.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.has_started.swap(true, Ordering::Relaxed) {
            values.insert((None, Metric::ColdStarts), vec![1.0]);
        }
        if values.is_empty() {
            self.output.write("");
            return;
        }
        let mut by_outcome: BTreeMap<Option<&'static str>, Vec<(Metric, &[f64])>> = BTreeMap::new();
        for ((outcome, metric), values) in &values {
            by_outcome.entry(*outcome).or_default().push((*metric, values));
        }
        let plain = by_outcome.remove(&None).unwrap_or_default();
        let mut outcomes =
            by_outcome.iter().filter_map(|(outcome, values)| Some(((*outcome)?, values.as_slice())));
        let mut objects = vec![self.object(&plain, outcomes.next())];
        objects.extend(outcomes.map(|outcome| self.object(&[], Some(outcome))));
        self.output.write_metrics(&objects, self.service);
    }

    /// Returns the members of an object: metrics without an outcome, and those of one outcome.
    fn object(&self, plain: Recorded<'_>, outcome: Option<(&'static str, Recorded<'_>)>) -> String {
        let stack = self.stack.as_ref().map(|_| "stack");
        let directive = |metrics: Recorded<'_>, outcome: Option<&'static str>| Directive {
            namespace: NAMESPACE,
            dimensions: vec![stack.into_iter().chain(["service"]).chain(outcome).collect()],
            metrics: metrics
                .iter()
                .map(|(metric, _)| Declared { name: metric.name(), unit: metric.unit().as_str() })
                .collect(),
        };
        let (of_stack, plain): (Vec<_>, Vec<_>) =
            plain.iter().copied().partition(|(metric, _)| *metric == OF_STACK);
        let (outcome, with_outcome) = outcome.unzip();
        let with_outcome = with_outcome.unwrap_or_default();
        let mut directives = Vec::with_capacity(3);
        if !plain.is_empty() {
            directives.push(directive(&plain, None));
        }
        if !of_stack.is_empty() {
            let mut of_stack = directive(&of_stack, None);
            of_stack.dimensions.extend(stack.map(|stack| vec![stack]));
            directives.push(of_stack);
        }
        if !with_outcome.is_empty() {
            directives.push(directive(with_outcome, Some("outcome")));
        }
        let line = Line {
            aws: Metadata { timestamp: crate::clock::now().as_millisecond(), metrics: directives },
            stack: self.stack.as_deref(),
            outcome,
            values: plain
                .iter()
                .chain(&of_stack)
                .chain(with_outcome)
                .map(|(metric, values)| (metric.name(), Values::of(values)))
                .collect(),
        };
        let object = serde_json::to_string(&line).unwrap_or_default();
        object.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().to_owned()
    }
}

/// The members of a line in the embedded metric format. The dimension `service` is a field of the log line to which
/// they are appended.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "_aws")]
    aws: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(flatten)]
    values: BTreeMap<&'static str, Values<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    metrics: Vec<Directive>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    /// The sets of dimensions; each is a metric of its own.
    dimensions: Vec<Vec<&'static str>>,
    metrics: Vec<Declared>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Declared {
    name: &'static str,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values<'a> {
    One(f64),
    Several(&'a [f64]),
}

impl<'a> Values<'a> {
    fn of(values: &'a [f64]) -> Self {
        if let [single] = values { Self::One(*single) } else { Self::Several(values) }
    }
}

impl<S> Layer<S> for EmbeddedMetrics
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut seen = Observation::default();
        event.record(&mut seen);
        let Some(metric) = seen.metric else { return };
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let held = values.entry((seen.outcome, metric)).or_default();
        match (metric.kind(), held.as_mut_slice()) {
            (Kind::Counter, [sum]) => *sum += seen.value,
            (Kind::Gauge, [last]) => *last = seen.value,
            (Kind::Distribution, values) if values.len() >= MAX_VALUES => {}
            // More decimals would only make lines longer.
            (Kind::Distribution, _) => held.push((seen.value * 1_000.0).round() / 1_000.0),
            (Kind::Counter | Kind::Gauge, _) => held.push(seen.value),
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if context.span(&id).is_some_and(|span| span.name() == super::INVOCATION) {
            self.flush();
        }
    }
}

#[derive(Default)]
struct Observation {
    metric: Option<Metric>,
    outcome: Option<&'static str>,
    value: f64,
}

impl Visit for Observation {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "metric" {
            self.metric = usize::try_from(value).ok().and_then(|position| Metric::ALL.get(position).copied());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // The metric is the first field.
        if field.name() == "outcome" {
            self.outcome = self.metric.map(|metric| metric.outcome(value));
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "value" {
            self.value = value;
        }
    }
}
