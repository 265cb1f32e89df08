//! Collects the functions' metrics from their CloudWatch EMF log lines and serves them in Prometheus format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// All metrics since the start of the stack.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<String, Family>>,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    /// Keyed by the formatted label set.
    series: BTreeMap<String, Series>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Summary,
}

#[derive(Debug, Default)]
struct Series {
    count: f64,
    sum: f64,
}

impl Metrics {
    /// Adds the values of an EMF object. Returns false if `object` is not one.
    pub fn record(&self, object: &Value) -> bool {
        let Some(directives) = object.pointer("/_aws/CloudWatchMetrics").and_then(Value::as_array) else {
            return false;
        };
        for directive in directives {
            let namespace = directive.get("Namespace").and_then(Value::as_str).unwrap_or_default();
            let labels = labels(object, directive);
            for metric in directive.get("Metrics").and_then(Value::as_array).into_iter().flatten() {
                let Some(name) = metric.get("Name").and_then(Value::as_str) else { continue };
                let unit = metric.get("Unit").and_then(Value::as_str).unwrap_or("None");
                let values = match object.get(name) {
                    Some(Value::Array(values)) => values.iter().filter_map(Value::as_f64).collect(),
                    Some(value) => value.as_f64().into_iter().collect(),
                    None => Vec::new(),
                };
                self.add(&metric_name(namespace, name, unit), unit == "Count", &labels, &values);
            }
        }
        true
    }

    pub(crate) fn invocation(&self, function: &str, took: Duration, failed: bool) {
        let labels = format!("function=\"{}\"", escaped(function));
        self.add("lambda_duration_seconds", false, &labels, &[took.as_secs_f64()]);
        self.add("lambda_invocations_total", true, &labels, &[1.0]);
        self.add("lambda_errors_total", true, &labels, &[f64::from(u8::from(failed))]);
    }

    pub(crate) fn cold_start(&self, function: &str) {
        self.add("lambda_cold_starts_total", true, &format!("function=\"{}\"", escaped(function)), &[1.0]);
    }

    fn add(&self, name: &str, is_counter: bool, labels: &str, values: &[f64]) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if is_counter { Kind::Counter } else { Kind::Summary };
        let family = families.entry(name.to_owned()).or_insert(Family { kind, series: BTreeMap::new() });
        let series = family.series.entry(labels.to_owned()).or_default();
        for value in values {
            series.count += 1.0;
            series.sum += value;
        }
    }

    /// Returns the metrics in Prometheus text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text =
            String::from("# Collected by the local stack. A deployment has these metrics in CloudWatch.\n");
        for (name, family) in families.iter() {
            let kind = if family.kind == Kind::Counter { "counter" } else { "summary" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for (labels, series) in &family.series {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                let _ = match family.kind {
                    Kind::Counter => writeln!(text, "{name}{labels} {}", series.sum),
                    Kind::Summary => {
                        writeln!(
                            text,
                            "{name}_sum{labels} {}\n{name}_count{labels} {}",
                            series.sum, series.count
                        )
                    }
                };
            }
        }
        text
    }
}

/// Returns the labels of the most detailed dimension set. The other sets are sums of it.
fn labels(object: &Value, directive: &Value) -> String {
    let sets = directive.get("Dimensions").and_then(Value::as_array);
    let detailed = sets.into_iter().flatten().filter_map(Value::as_array).max_by_key(|set| set.len());
    let mut labels: Vec<String> = detailed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|name| {
            let value = object.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{}=\"{}\"", snake_case(name), escaped(value))
        })
        .collect();
    labels.sort();
    labels.join(",")
}

fn metric_name(namespace: &str, name: &str, unit: &str) -> String {
    let mut full = snake_case(&format!("{namespace}_{name}"));
    let suffix = match unit {
        "Count" => "total",
        "Seconds" => "seconds",
        "Milliseconds" => "milliseconds",
        "Microseconds" => "microseconds",
        "Bytes" => "bytes",
        _ => "",
    };
    if !suffix.is_empty() && !full.ends_with(suffix) {
        full.push('_');
        full.push_str(suffix);
    }
    full
}

/// Converts `SmsService/InboundReceived` to `sms_service_inbound_received`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        let is_word = character.is_ascii_alphanumeric();
        let follows_lower = snake.ends_with(|last: char| last.is_ascii_lowercase() || last.is_ascii_digit());
        if (character.is_ascii_uppercase() && follows_lower) || (!is_word && !snake.ends_with('_')) {
            snake.push('_');
        }
        if is_word {
            snake.push(character.to_ascii_lowercase());
        }
    }
    snake
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
