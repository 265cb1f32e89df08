//! The page with the table of metrics.

use common::telemetry::{FUNCTIONS, Kind, Metric, NAMESPACE, OTHER};

/// Returns `common/docs/metrics.md`.
#[must_use]
pub fn page() -> String {
    let mut text = format!(
        "# Metrics

Written from the list in `common/src/telemetry/metrics/list.rs` by
`UPDATE_DASHBOARDS=1 cargo test -p local --test it dashboards`.

On Lambda, the functions write each invocation's metrics as a log line in CloudWatch's embedded metric format, namespace
`{NAMESPACE}`. The dimensions are `stack` and `service` (the function), and `outcome` where the table lists outcomes.
CloudWatch has one metric per combination; an outcome that is not on the list counts as `{OTHER}`. An alarm or a query
must name all of them. `api_failures` is also counted for the whole stack, with the dimension `stack` alone.

The local stack serves the same metrics in Prometheus format at `/metrics`, with the dimensions as labels. There a
counter ends in `_total`, a duration is a histogram in seconds, and AWS's own metrics are `lambda_…{{function}}` and
`sqs_…{{queue}}`.

The dashboard `<stack>-<region>` in CloudWatch is part of the stack. For Grafana, import
[grafana-dashboard.json](grafana-dashboard.json) and choose a Prometheus data source.

| CloudWatch | Prometheus | unit | functions | outcomes | meaning |
|---|---|---|---|---|---|
"
    );
    for metric in Metric::ALL {
        let services = if metric.services().len() == FUNCTIONS.len() {
            "all".to_owned()
        } else if metric.services().len() > 10 {
            format!("{} functions", metric.services().len())
        } else {
            quoted(metric.services())
        };
        let kind = if metric.kind() == Kind::Distribution { " (distribution)" } else { "" };
        text.push_str(&format!(
            "| `{}` | `{}` | {}{kind} | {services} | {} | {} |\n",
            metric.name(),
            metric.prometheus_name(),
            metric.unit().as_str(),
            quoted(metric.outcomes()),
            metric.description(),
        ));
    }
    text
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
