//! The dashboard in Grafana, for Prometheus.

use common::telemetry::{Kind, Metric};
use serde_json::{Value, json};

use super::{HEIGHT, Panel, Source, columns, rows};
use crate::metrics::Family;

/// The version of Grafana's dashboard schema, of Grafana 12. Later versions read it too.
const SCHEMA_VERSION: u32 = 41;

/// The labels of the selected stack. The local stack may have none, which `.*` matches.
const STACK: &str = "{stack=~\"$stack\"}";

/// Returns the dashboard, to be imported with a Prometheus data source.
#[must_use]
pub fn dashboard() -> Value {
    let mut panels: Vec<Value> = Vec::new();
    let mut y = 0;
    for row in rows() {
        let id = panels.len() + 1;
        panels.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": 24, "h": 1 },
        }));
        y += 1;
        let targets = row.panels.iter().map(|panel| (panel, targets(panel)));
        let shown: Vec<_> = targets.filter(|(_, targets)| !targets.is_empty()).collect();
        for (place, ((panel, targets), (x, width))) in shown.iter().zip(columns(shown.len())).enumerate() {
            let id = panels.len() + 1;
            panels.push(json!({
                "id": id, "type": "timeseries", "title": panel.title, "description": description(panel),
                "datasource": datasource(), "targets": targets,
                "gridPos": { "x": x, "y": y + place / 3 * HEIGHT, "w": width, "h": HEIGHT },
                "fieldConfig": { "defaults": { "unit": unit(panel), "min": 0 }, "overrides": [] },
                "options": {
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                },
            }));
        }
        y += shown.len().div_ceil(3) * HEIGHT;
    }
    json!({
        "title": "SMS service",
        "uid": "sms-foundation",
        "schemaVersion": SCHEMA_VERSION,
        "editable": true,
        "graphTooltip": 1,
        "tags": ["sms-foundation"],
        "time": { "from": "now-3h", "to": "now" },
        "refresh": "1m",
        "timezone": "browser",
        "annotations": { "list": [] },
        "links": [],
        "templating": { "list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                "current": {}, "hide": 0, "refresh": 1, "regex": "", "multi": false, "includeAll": false,
                "options": [],
            },
            {
                "name": "stack", "label": "Stack", "type": "query", "datasource": datasource(),
                "query": {
                    "query": format!("label_values({}, stack)", Metric::ColdStarts.prometheus_name()),
                    "refId": "stack",
                },
                "current": { "text": "All", "value": "$__all" }, "hide": 0, "refresh": 2, "regex": "", "sort": 1,
                "multi": true, "includeAll": true, "allValue": ".*", "options": [],
            },
        ] },
        "panels": panels,
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn description(panel: &Panel) -> String {
    match &panel.source {
        Source::Listed(metrics) => {
            let lines: Vec<String> =
                metrics.iter().map(|metric| format!("{}: {}", metric.name(), metric.description())).collect();
            lines.join("\n\n")
        }
        Source::Aws { .. } => String::new(),
    }
}

/// Returns the unit of a panel in Grafana.
fn unit(panel: &Panel) -> &'static str {
    let base = match &panel.source {
        Source::Listed(metrics) => metrics[0].unit().base().0,
        Source::Aws { query, .. } => {
            let query = query.unwrap_or_default();
            let families = Family::all();
            families.iter().find(|family| query.contains(&family.name)).and_then(|family| family.unit)
        }
    };
    match base {
        Some("seconds") => "s",
        Some("bytes") => "bytes",
        _ => "short",
    }
}

fn targets(panel: &Panel) -> Vec<Value> {
    let queries: Vec<(String, String)> = match &panel.source {
        Source::Listed(metrics) => metrics.iter().flat_map(|metric| queries(*metric)).collect(),
        Source::Aws { query, .. } => query
            .iter()
            .map(|query| {
                let label = if query.contains("queue") { "{{queue}}" } else { "{{function}}" };
                ((*query).to_owned(), label.to_owned())
            })
            .collect(),
    };
    let targets = queries.into_iter().zip('A'..='Z').map(|((expression, legend), reference)| {
        json!({
            "refId": reference.to_string(), "datasource": datasource(), "expr": expression, "legendFormat": legend,
            "editorMode": "code", "range": true,
        })
    });
    targets.collect()
}

/// Returns the queries of a metric with their legends.
fn queries(metric: Metric) -> Vec<(String, String)> {
    let (name, shown) = (metric.prometheus_name(), metric.name());
    let (by, legend) = if metric.outcomes().is_empty() {
        ("service", "{{service}}")
    } else {
        ("service, outcome", "{{service}} {{outcome}}")
    };
    match metric.kind() {
        Kind::Counter => vec![(
            format!("sum by ({by}) (increase({name}{STACK}[$__rate_interval]))"),
            format!("{shown} {legend}"),
        )],
        Kind::Gauge => vec![(format!("max by ({by}) ({name}{STACK})"), format!("{shown} {legend}"))],
        Kind::Distribution => {
            let quantile = |quantile: &str, label: &str| {
                let rate = format!("rate({name}_bucket{STACK}[$__rate_interval])");
                let query = format!("histogram_quantile({quantile}, sum by (le, {by}) ({rate}))");
                (query, format!("{legend} {label}"))
            };
            vec![quantile("0.5", "p50"), quantile("0.95", "p95"), quantile("0.99", "p99")]
        }
    }
}
