//! Both dashboards, the alarms and the page of metrics agree with the list of metrics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::telemetry::{FUNCTIONS, Kind, Metric};
use local::dashboards;
use local::metrics::Family;
use local::template::Template;
use serde_json::Value;

/// Metrics of AWS that the local stack does not have, so that Grafana's dashboard has no panel for them.
const NOT_LOCAL: &[(&str, &str)] = &[
    ("API requests", "the gateway's counts; the functions' metrics have the same requests"),
    ("Concurrent executions", "the local stack starts as many processes as it needs"),
];

/// Families that no panel of Grafana's dashboard shows.
const NOT_SHOWN: &[(&str, &str)] = &[("lambda_cold_starts", "the list has the metric cold_starts")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn template() -> (String, Template) {
    let text = read("template.yaml");
    let template = Template::parse(&text, "us-east-1").unwrap();
    (text, template)
}

/// Compares a file with its expected content, or writes it if `UPDATE_DASHBOARDS` is set.
fn check_file(path: &str, expected: &str) {
    if std::env::var_os("UPDATE_DASHBOARDS").is_some() {
        std::fs::write(root().join(path), expected).unwrap();
    }
    let hint = "run UPDATE_DASHBOARDS=1 cargo test -p local --test it dashboards";
    assert!(read(path) == expected, "{path} is not what the list of metrics says; {hint}");
}

/// Returns the template with this text of the dashboard.
fn with_dashboard(template: &str, block: &str) -> String {
    let first = block.lines().next().unwrap();
    let (before, outputs) = template.split_once("\nOutputs:\n").unwrap();
    let before = before.split_once(&format!("{first}\n")).map_or(before, |(before, _)| before.trim_end());
    format!("{before}\n\n{block}\nOutputs:\n{outputs}")
}

#[test]
fn the_dashboards_and_the_page_are_those_of_the_list() {
    let (text, template) = template();
    check_file("template.yaml", &with_dashboard(&text, &dashboards::template_block(&template)));
    let grafana = serde_json::to_string_pretty(&dashboards::dashboard()).unwrap();
    check_file("common/docs/grafana-dashboard.json", &format!("{grafana}\n"));
    check_file("common/docs/metrics.md", &dashboards::page());
}

#[test]
fn the_functions_of_the_list_are_those_of_the_template() {
    let names: BTreeSet<String> = template().1.functions.into_iter().map(|function| function.name).collect();
    assert_eq!(names, FUNCTIONS.iter().map(|name| (*name).to_owned()).collect());
}

/// Returns the text of each search, and the namespace, name and dimensions of each explicit metric.
fn cloudwatch_metrics(body: &Value) -> (Vec<String>, Vec<Vec<String>>) {
    let (mut searches, mut explicit) = (Vec::new(), Vec::new());
    for widget in body["widgets"].as_array().unwrap() {
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            let parts = metric.as_array().unwrap();
            match parts[0]["expression"].as_str() {
                Some(search) => searches.push(search.to_owned()),
                None => explicit.push(parts.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            }
        }
    }
    (searches, explicit)
}

#[test]
fn every_metric_is_on_the_dashboard_in_cloudwatch_with_its_dimensions() {
    let (text, template) = template();
    // The body as CloudFormation reads it: a folded block of JSON.
    let (_, block) = text.split_once("DashboardBody: !Sub >-\n").unwrap();
    let lines: Vec<&str> =
        block.lines().take_while(|line| line.starts_with("        ")).map(str::trim).collect();
    let body: Value = serde_json::from_str(&lines.join(" ")).unwrap();
    assert_eq!(body, dashboards::body(&template));
    let (searches, explicit) = cloudwatch_metrics(&body);
    let mut shown = BTreeSet::new();
    for search in &searches {
        let name = search.split("MetricName=\"").nth(1).unwrap().split('"').next().unwrap();
        let metric = Metric::by_name(name).unwrap_or_else(|| panic!("{search} is not on the list"));
        let outcome = if metric.outcomes().is_empty() { "" } else { ",outcome" };
        let schema = format!("SEARCH('{{SmsFoundation,stack,service{outcome}}} MetricName=");
        assert!(search.starts_with(&schema) && search.contains("stack=\"${AWS::StackName}\""), "{search}");
        shown.insert(metric);
    }
    for metric in explicit.iter().filter(|metric| metric[0] == "SmsFoundation") {
        let [_, name, stack, value, service, function] = &metric[..] else { panic!("{metric:?}") };
        let listed = Metric::by_name(name).unwrap_or_else(|| panic!("{name} is not on the list"));
        assert!(listed.services().contains(&function.as_str()) && listed.outcomes().is_empty(), "{metric:?}");
        assert_eq!(
            (stack.as_str(), value.as_str(), service.as_str()),
            ("stack", "${AWS::StackName}", "service")
        );
        shown.insert(listed);
    }
    assert_eq!(shown, Metric::ALL.iter().copied().collect());
    // Of the 2,500 metrics that CloudWatch allows on a dashboard; a search finds at most 100.
    assert!(explicit.len() <= 500 && explicit.len() + searches.len() * 100 <= 2_500, "{}", explicit.len());
    let variables = text.split_once("DashboardBody: !Sub >-\n").unwrap().1.lines().take(lines.len());
    for reference in
        variables.flat_map(|line| line.split("${").skip(1)).filter_map(|rest| rest.split('}').next())
    {
        let id = reference.split('.').next().unwrap();
        assert!(
            id.starts_with("AWS::") || text.contains(&format!("\n  {id}:\n")) || id == "Api",
            "{reference}"
        );
    }
}

#[test]
fn every_metric_is_on_the_dashboard_in_grafana() {
    let dashboard: Value = serde_json::from_str(&read("common/docs/grafana-dashboard.json")).unwrap();
    let families = Family::all();
    let mut shown = BTreeSet::new();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id {}", panel["id"]);
        let place = ["x", "w"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(place[0] + place[1] <= 24, "{panel}");
        titles.insert(panel["title"].as_str().unwrap().to_owned());
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            let query = target["expr"].as_str().unwrap();
            let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let names = query.split(|c| !is_part_of_name(c));
            let prefixes = ["sms_foundation_", "lambda_", "sqs_"];
            let mut names =
                names.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).peekable();
            assert!(names.peek().is_some(), "{query}");
            for name in names {
                let family =
                    families.iter().find(|family| family.samples().iter().any(|sample| sample == name));
                shown.insert(
                    family.unwrap_or_else(|| panic!("{query} has an unknown metric {name}")).name.clone(),
                );
            }
        }
    }
    let hidden: BTreeSet<&str> = NOT_SHOWN.iter().map(|(name, _)| *name).collect();
    let all =
        families.iter().map(|family| family.name.clone()).filter(|name| !hidden.contains(name.as_str()));
    assert_eq!(shown, all.collect());
    for row in dashboards::rows() {
        for panel in row.panels {
            let is_local = !NOT_LOCAL.iter().any(|(title, _)| *title == panel.title);
            assert_eq!(titles.contains(panel.title), is_local, "{}", panel.title);
        }
    }
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|v| v["name"].as_str())
        .collect();
    assert_eq!(variables, ["datasource", "stack"]);
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
}

#[test]
fn a_panel_has_metrics_of_one_unit() {
    for row in dashboards::rows() {
        for panel in row.panels {
            let dashboards::Source::Listed(metrics) = panel.source else { continue };
            let base = |metric: &Metric| (metric.unit().base().0, metric.kind() == Kind::Distribution);
            assert!(metrics.iter().all(|metric| base(metric) == base(&metrics[0])), "{}", panel.title);
        }
    }
}
