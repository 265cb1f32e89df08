//! Collects the functions' metrics from their CloudWatch EMF log lines and serves them in Prometheus format.
//!
//! Names, kinds, units and descriptions come from the one list of metrics, `common::telemetry::Metric`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use common::telemetry::{Kind, Metric, NAMESPACE};
use serde_json::Value;

use crate::sqs::Sqs;

/// Upper bounds of the buckets of all histograms, in seconds: from a statement in Postgres to a long outage.
const BUCKETS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// A group of time series with the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// The name, without `_total`.
    pub name: String,
    /// How values are combined.
    pub kind: FamilyKind,
    /// The base unit, which ends the name.
    pub unit: Option<&'static str>,
    /// The description.
    pub help: &'static str,
}

/// The types of Prometheus that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FamilyKind {
    /// A sum, whose name ends in `_total`.
    Counter,
    /// The last value.
    Gauge,
    /// A distribution.
    Histogram,
}

impl FamilyKind {
    /// Returns the name of the type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    fn of(metric: Metric) -> Self {
        let kind = match metric.kind() {
            Kind::Counter => FamilyKind::Counter,
            Kind::Gauge => FamilyKind::Gauge,
            Kind::Distribution => FamilyKind::Histogram,
        };
        let (unit, help) = (metric.unit().base().0, metric.description());
        Self { name: metric.prometheus_family(), kind, unit, help }
    }

    fn new(name: &str, kind: FamilyKind, unit: Option<&'static str>, help: &'static str) -> Self {
        Self { name: name.to_owned(), kind, unit, help }
    }

    /// Returns every family that the local stack exports: the list's, then those that AWS has in CloudWatch.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let listed = Metric::ALL.iter().copied().map(Self::of);
        let invoked = [invocations(), failures(), throttles(), starts(), durations(), queued(), oldest()];
        listed.chain(invoked).collect()
    }

    /// Returns the names of its samples.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        let name = &self.name;
        match self.kind {
            FamilyKind::Counter => vec![format!("{name}_total")],
            FamilyKind::Gauge => vec![name.clone()],
            FamilyKind::Histogram => ["bucket", "count", "sum"].map(|part| format!("{name}_{part}")).to_vec(),
        }
    }
}

fn invocations() -> Family {
    Family::new("lambda_invocations", FamilyKind::Counter, None, "Invocations of functions.")
}

fn failures() -> Family {
    Family::new("lambda_errors", FamilyKind::Counter, None, "Invocations that failed.")
}

fn throttles() -> Family {
    Family::new("lambda_throttles", FamilyKind::Counter, None, "Invocations refused by reserved concurrency.")
}

fn starts() -> Family {
    Family::new("lambda_cold_starts", FamilyKind::Counter, None, "Processes started.")
}

fn durations() -> Family {
    let help = "Duration of invocations.";
    Family::new("lambda_duration_seconds", FamilyKind::Histogram, Some("seconds"), help)
}

fn queued() -> Family {
    Family::new(
        "sqs_messages",
        FamilyKind::Gauge,
        None,
        "Messages on a queue, in flight and delayed ones included.",
    )
}

fn oldest() -> Family {
    let help = "Age of the oldest message on a queue.";
    Family::new("sqs_oldest_message_age_seconds", FamilyKind::Gauge, Some("seconds"), help)
}

/// The time series of families, by their formatted labels.
type Families = BTreeMap<Family, BTreeMap<String, Series>>;

/// All metrics since the start of the stack.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Mutex<Families>,
    queues: OnceLock<Arc<Sqs>>,
}

#[derive(Debug, Default, Clone)]
struct Series {
    /// The sum of a counter or histogram, or the last value of a gauge.
    value: f64,
    count: u64,
    buckets: [u64; BUCKETS.len()],
}

impl Series {
    fn add(&mut self, kind: FamilyKind, value: f64) {
        self.count += 1;
        if kind == FamilyKind::Gauge {
            self.value = value;
            return;
        }
        self.value += value;
        for (count, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(value <= bound);
        }
    }
}

/// A text format of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The classic text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0, which Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// Returns the format that a client accepts.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the content type of a response.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// Adds the values of an EMF object, without metrics that are not on the list.
    ///
    /// Returns false if `object` is not one.
    pub fn record(&self, object: &Value) -> bool {
        let Some(directives) = object.pointer("/_aws/CloudWatchMetrics").and_then(Value::as_array) else {
            return false;
        };
        for directive in directives.iter().filter(|directive| directive["Namespace"] == NAMESPACE) {
            let labels = labels(object, directive);
            for metric in directive.get("Metrics").and_then(Value::as_array).into_iter().flatten() {
                let name = metric.get("Name").and_then(Value::as_str).unwrap_or_default();
                let Some(metric) = Metric::by_name(name) else { continue };
                let values = match object.get(name) {
                    Some(Value::Array(values)) => values.iter().filter_map(Value::as_f64).collect(),
                    Some(value) => value.as_f64().into_iter().collect(),
                    None => Vec::new(),
                };
                let (_, factor) = metric.unit().base();
                let values: Vec<f64> = values.into_iter().map(|value| value * factor).collect();
                self.add(Family::of(metric), &labels, &values);
            }
        }
        true
    }

    /// Exports the sizes of these queues too.
    pub fn watch_queues(&self, queues: Arc<Sqs>) {
        // There is one SQS server.
        let _ = self.queues.set(queues);
    }

    pub(crate) fn invocation(&self, function: &str, took: Duration, failed: bool) {
        let labels = label("function", function);
        self.add(durations(), &labels, &[took.as_secs_f64()]);
        self.add(invocations(), &labels, &[1.0]);
        self.add(failures(), &labels, &[f64::from(u8::from(failed))]);
    }

    pub(crate) fn throttled(&self, function: &str) {
        self.add(throttles(), &label("function", function), &[1.0]);
    }

    pub(crate) fn cold_start(&self, function: &str) {
        self.add(starts(), &label("function", function), &[1.0]);
    }

    fn add(&self, family: Family, labels: &str, values: &[f64]) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = family.kind;
        let series = families.entry(family).or_default().entry(labels.to_owned()).or_default();
        values.iter().for_each(|value| series.add(kind, *value));
    }

    /// Returns the metrics in a text format of Prometheus.
    #[must_use]
    pub fn prometheus(&self, format: Format) -> String {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sizes = self.queues.get().map(|queues| queues.sizes()).unwrap_or_default();
        for (queue, messages, age) in sizes {
            for (family, value) in [(queued(), messages), (oldest(), age)] {
                let series = families.entry(family).or_default().entry(label("queue", &queue)).or_default();
                series.add(FamilyKind::Gauge, value);
            }
        }
        let mut text = String::new();
        for (family, series) in &families {
            // Writing to a String cannot fail.
            let _ = write_family(&mut text, format, family, series);
        }
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

fn write_family(
    text: &mut String,
    format: Format,
    family: &Family,
    series: &BTreeMap<String, Series>,
) -> std::fmt::Result {
    let Family { name, kind, unit, help } = family;
    // In the classic format, a counter is described by the name of its samples.
    let total = if format == Format::Text && *kind == FamilyKind::Counter { "_total" } else { "" };
    writeln!(text, "# HELP {name}{total} {}", help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(text, "# TYPE {name}{total} {}", kind.as_str())?;
    if let (Format::OpenMetrics, Some(unit)) = (format, unit) {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    for (labels, series) in series {
        let Series { value, count, buckets } = series;
        match kind {
            FamilyKind::Counter => writeln!(text, "{name}_total{{{labels}}} {value}")?,
            FamilyKind::Gauge => writeln!(text, "{name}{{{labels}}} {value}")?,
            FamilyKind::Histogram => {
                for (bound, within) in BUCKETS.iter().zip(buckets) {
                    writeln!(text, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {within}")?;
                }
                writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
                writeln!(text, "{name}_sum{{{labels}}} {value}")?;
                writeln!(text, "{name}_count{{{labels}}} {count}")?;
            }
        }
    }
    Ok(())
}

/// Returns the labels of a directive: the dimensions of its only set.
fn labels(object: &Value, directive: &Value) -> String {
    let set = directive.pointer("/Dimensions/0").and_then(Value::as_array);
    let mut labels: Vec<String> = set
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|name| label(name, object.get(name).and_then(Value::as_str).unwrap_or_default()))
        .collect();
    labels.sort();
    labels.join(",")
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}
