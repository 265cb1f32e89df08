//! The dashboard in CloudWatch, as a resource of `template.yaml`.

use common::telemetry::{Kind, Metric, NAMESPACE};
use serde_json::{Value, json};

use super::{HEIGHT, Of, Panel, Source, columns, rows};
use crate::template::{FunctionSpec, Template};

/// A metric with more series than this is found by a search, which has no fixed list of services.
const MAX_EXPLICIT: usize = 6;

/// The dimension of all metrics, with the stack's name.
const STACK: &str = "${AWS::StackName}";

/// Returns the dashboard's body. It has the variables of `Fn::Sub`.
#[must_use]
pub fn body(template: &Template) -> Value {
    let mut widgets = Vec::new();
    let mut y = 0;
    for row in rows() {
        let heading = json!({ "markdown": format!("## {}", row.title) });
        widgets
            .push(json!({ "type": "text", "x": 0, "y": y, "width": 24, "height": 1, "properties": heading }));
        y += 1;
        for (place, (panel, (x, width))) in row.panels.iter().zip(columns(row.panels.len())).enumerate() {
            let y = y + place / 3 * HEIGHT;
            let properties = properties(panel, template);
            widgets.push(json!({
                "type": "metric", "x": x, "y": y, "width": width, "height": HEIGHT, "properties": properties,
            }));
        }
        y += row.panels.len().div_ceil(3) * HEIGHT;
    }
    json!({ "widgets": widgets })
}

/// Returns the resource as it is in `template.yaml`, with one widget or metric per line.
#[must_use]
pub fn template_block(template: &Template) -> String {
    let mut block = String::from(
        "  # Written by the test that compares it with the list of metrics:\n  \
         #   UPDATE_DASHBOARDS=1 cargo test -p local --test it dashboards\n  \
         Dashboard:\n    \
         Type: AWS::CloudWatch::Dashboard\n    \
         Properties:\n      \
         DashboardName: !Sub \"${AWS::StackName}-${AWS::Region}\"\n      \
         DashboardBody: !Sub >-\n",
    );
    let body = body(template);
    let mut lines = vec!["{\"widgets\":[".to_owned()];
    for widget in body["widgets"].as_array().into_iter().flatten() {
        if lines.len() > 1 {
            lines.push(",".to_owned());
        }
        let Some(metrics) = widget.pointer("/properties/metrics").and_then(Value::as_array) else {
            lines.push(widget.to_string());
            continue;
        };
        let mut without = widget.clone();
        without["properties"]["metrics"] = "METRICS".into();
        let text = without.to_string();
        let (before, after) = text.split_once("\"METRICS\"").unwrap_or((&text, ""));
        lines.push(format!("{before}["));
        let last = metrics.len().saturating_sub(1);
        lines.extend(metrics.iter().enumerate().map(|(position, metric)| {
            let comma = if position < last { "," } else { "" };
            format!("{metric}{comma}")
        }));
        lines.push(format!("]{after}"));
    }
    lines.push("]}".to_owned());
    for line in lines {
        block.push_str(&format!("        {line}\n"));
    }
    block
}

fn properties(panel: &Panel, template: &Template) -> Value {
    let (metrics, statistic) = match &panel.source {
        Source::Listed(metrics) => {
            (metrics.iter().flat_map(|metric| listed(*metric)).collect(), statistic(metrics[0]))
        }
        Source::Aws { of, names, statistic, .. } => (aws(*of, names, template), *statistic),
    };
    json!({
        "title": panel.title,
        "region": "${AWS::Region}",
        "view": "timeSeries",
        "stat": statistic,
        "period": 60,
        "metrics": metrics,
    })
}

fn statistic(metric: Metric) -> &'static str {
    match metric.kind() {
        Kind::Counter => "Sum",
        Kind::Gauge => "Maximum",
        Kind::Distribution => "p95",
    }
}

/// Returns the lines of a metric of the list. A distribution has its median and two percentiles.
fn listed(metric: Metric) -> Vec<Value> {
    let statistics: &[&str] =
        if metric.kind() == Kind::Distribution { &["p50", "p95", "p99"] } else { &[statistic(metric)] };
    let (services, name) = (metric.services(), metric.name());
    let is_searched = services.len() * statistics.len() > MAX_EXPLICIT || !metric.outcomes().is_empty();
    let lines = statistics.iter().map(|statistic| {
        if is_searched {
            let outcome = if metric.outcomes().is_empty() { "" } else { ",outcome" };
            let search =
                format!("{{{NAMESPACE},stack,service{outcome}}} MetricName=\"{name}\" stack=\"{STACK}\"");
            return vec![json!([{ "expression": format!("SEARCH('{search}', '{statistic}', 60)") }])];
        }
        let line = |service: &&str| {
            let options = json!({ "stat": statistic, "label": format!("{name} {service} {statistic}") });
            json!([NAMESPACE, name, "stack", STACK, "service", service, options])
        };
        services.iter().map(line).collect()
    });
    lines.flatten().collect()
}

fn aws(of: Of, names: &[&str], template: &Template) -> Vec<Value> {
    let is_dead = |name: &str| name.contains("DeadLetter") || name.starts_with("FailedSchedules");
    let queues = template.queues.iter().map(|queue| queue.logical_id.as_str());
    let (namespace, dimension, values): (_, _, Vec<(String, &str)>) = match of {
        Of::Functions => {
            let of = |function: &FunctionSpec| format!("${{{}}}", function.logical_id);
            let values = template.functions.iter().map(|function| (of(function), function.name.as_str()));
            ("AWS/Lambda", "FunctionName", values.collect())
        }
        Of::Queues | Of::DeadLetters => {
            let values = queues.filter(|id| is_dead(id) == (of == Of::DeadLetters));
            ("AWS/SQS", "QueueName", values.map(|id| (format!("${{{id}.QueueName}}"), id)).collect())
        }
        Of::Api => ("AWS/ApiGateway", "ApiId", vec![("${Api}".to_owned(), "API")]),
    };
    let line = |name: &&str| {
        let line = |(value, label): &(String, &str)| {
            let label = if names.len() > 1 { format!("{label} {name}") } else { (*label).to_owned() };
            json!([namespace, name, dimension, value, { "label": label }])
        };
        values.iter().map(line).collect::<Vec<_>>()
    };
    names.iter().flat_map(line).collect()
}
