//! Tests of the parts of the project's template that only a deployment uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::telemetry::{Metric, OF_STACK};
use serde_json::Value;

use crate::{Template, yaml};

const TEXT: &str = include_str!("../../../../template.yaml");

pub(super) fn document() -> Value {
    yaml::load(TEXT).unwrap()
}

pub(super) fn resources(document: &Value, kind: &str) -> Vec<(String, Value)> {
    let all = document["Resources"].as_object().unwrap().iter();
    let of_kind = all.filter(|(_, resource)| resource["Type"] == kind);
    let mut found: Vec<_> =
        of_kind.map(|(id, resource)| (id.clone(), resource["Properties"].clone())).collect();
    if kind == "AWS::Serverless::Function" {
        for (_, properties) in &mut found {
            for (name, value) in document["Globals"]["Function"].as_object().unwrap() {
                merge(&mut properties[name], value);
            }
        }
    }
    found
}

/// Merges globals into a function's properties as SAM does.
fn merge(own: &mut Value, global: &Value) {
    match (own, global) {
        (own @ Value::Null, global) => *own = global.clone(),
        (Value::Object(own), Value::Object(global)) => {
            for (name, value) in global {
                merge(own.entry(name).or_insert(Value::Null), value);
            }
        }
        _ => {}
    }
}

/// A metric that an alarm watches.
#[derive(Debug)]
struct Watched {
    alarm: String,
    namespace: String,
    metric: String,
    dimensions: Vec<(String, Value)>,
    missing_is_breaching: bool,
}

impl Watched {
    fn dimension(&self, name: &str) -> Option<&Value> {
        self.dimensions.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

fn watched(document: &Value) -> Vec<Watched> {
    let mut all = Vec::new();
    for (alarm, properties) in resources(document, "AWS::CloudWatch::Alarm") {
        let several = properties["Metrics"].as_array();
        let metrics = match several {
            Some(metrics) => {
                metrics.iter().filter_map(|metric| metric.pointer("/MetricStat/Metric").cloned()).collect()
            }
            None => vec![properties.clone()],
        };
        for metric in metrics {
            let dimensions = metric["Dimensions"].as_array().unwrap().iter();
            all.push(Watched {
                alarm: alarm.clone(),
                namespace: metric["Namespace"].as_str().unwrap().to_owned(),
                metric: metric["MetricName"].as_str().unwrap().to_owned(),
                dimensions: dimensions
                    .map(|dimension| {
                        (dimension["Name"].as_str().unwrap().to_owned(), dimension["Value"].clone())
                    })
                    .collect(),
                missing_is_breaching: properties["TreatMissingData"] == "breaching",
            });
        }
    }
    all
}

pub(super) fn reference(id: &str) -> Value {
    serde_json::json!({ "Ref": id })
}

/// What `GetFunctionConfiguration` shows.
#[test]
fn no_variable_contains_a_secret() {
    assert!(!TEXT.contains("{{resolve:"), "a dynamic reference puts a secret into the environment");
    let secrets = ["DATABASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY_SID", "TWILIO_API_KEY_SECRET"];
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    for function in &template.functions {
        let held: Vec<_> = secrets.iter().filter(|name| function.environment.contains_key(**name)).collect();
        assert!(held.is_empty(), "{} has {held:?}", function.name);
    }
}

#[test]
fn metrics_and_schedule_names_are_unique_per_stack() {
    let document = document();
    for (id, properties) in resources(&document, "AWS::Serverless::Function") {
        let name = &properties["Environment"]["Variables"]["STACK_NAME"];
        assert_eq!(name, &reference("AWS::StackName"), "{id}");
        for event in properties["Events"].as_object().into_iter().flatten().map(|(_, event)| event) {
            let is_schedule = event["Type"] == "ScheduleV2";
            assert!(
                !is_schedule || event["Properties"]["OmitName"] == true,
                "{id}: a fixed schedule name would conflict between stacks"
            );
        }
    }
    for watched in watched(&document).iter().filter(|watched| watched.namespace == "SmsFoundation") {
        assert_eq!(watched.dimension("stack"), Some(&reference("AWS::StackName")), "{watched:?}");
    }
}

#[test]
fn alarms_watch_only_custom_metrics_that_exist() {
    let document = document();
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    for watched in watched(&document).iter().filter(|watched| watched.namespace == "SmsFoundation") {
        let metric = Metric::by_name(&watched.metric);
        let metric =
            metric.unwrap_or_else(|| panic!("{}: {} is not on the list", watched.alarm, watched.metric));
        let Some(service) = watched.dimension("service").and_then(Value::as_str) else {
            assert_eq!((metric, watched.dimensions.len()), (OF_STACK, 1), "{watched:?}");
            continue;
        };
        assert!(template.function(service).is_some(), "{watched:?}");
        assert!(metric.services().contains(&service), "{service} does not emit the metric: {watched:?}");
        let outcome = watched.dimension("outcome").and_then(Value::as_str);
        assert!(outcome.is_none_or(|outcome| metric.outcomes().contains(&outcome)), "{watched:?}");
        assert_eq!(
            watched.dimensions.len(),
            if metric.outcomes().is_empty() { 2 } else { 3 },
            "an alarm must name all dimensions of the metric: {watched:?}"
        );
    }
}

#[test]
fn every_function_queue_and_schedule_has_an_alarm() {
    let document = document();
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    let watched = watched(&document);
    let is_watched = |namespace: &str, metric: &str, dimension: &str, value: &Value| {
        watched.iter().any(|watched| {
            // Alarms of deployments watch one version of a function.
            (watched.namespace.as_str(), watched.metric.as_str()) == (namespace, metric)
                && watched.dimension(dimension) == Some(value)
                && watched.dimension("ExecutedVersion").is_none()
        })
    };
    let mut missing = Vec::new();
    let serving = template.function_urls.iter().map(|url| &url.function);
    let serving = serving.chain(template.routes.iter().map(|route| &route.function));
    let serving = serving.chain(template.mappings.iter().map(|mapping| &mapping.function));
    let serving = serving.chain(template.authorizers.values().map(|authorizer| &authorizer.function));
    let serving: BTreeSet<_> = serving.collect();
    assert!(serving.len() >= 14, "too few functions: {serving:?}");
    for name in serving {
        let id = reference(&template.function(name).unwrap().logical_id);
        for metric in ["Errors", "Throttles"] {
            if !is_watched("AWS/Lambda", metric, "FunctionName", &id) {
                missing.push(format!("{name}: {metric}"));
            }
        }
    }
    for queue in &template.queues {
        let has_consumer = template.mappings.iter().any(|mapping| mapping.queue == queue.name);
        let metric =
            if has_consumer { "ApproximateAgeOfOldestMessage" } else { "ApproximateNumberOfMessagesVisible" };
        let name = serde_json::json!({ "Fn::GetAtt": [queue.logical_id, "QueueName"] });
        if !is_watched("AWS/SQS", metric, "QueueName", &name) {
            missing.push(format!("{}: {metric}", queue.name));
        }
    }
    for schedule in &template.schedules {
        let id = reference(&template.function(&schedule.function).unwrap().logical_id);
        let detects_missing_runs = watched.iter().any(|watched| {
            watched.metric == "Invocations"
                && watched.dimension("FunctionName") == Some(&id)
                && watched.missing_is_breaching
        });
        if !detects_missing_runs || !is_watched("AWS/Lambda", "Errors", "FunctionName", &id) {
            missing.push(format!("{}: Invocations, Errors", schedule.function));
        }
    }
    if !is_watched("AWS/ApiGateway", "5xx", "ApiId", &reference("Api")) {
        missing.push("the API: 5xx".to_owned());
    }
    if !is_watched("SmsFoundation", "api_failures", "service", &"stream-events".into()) {
        missing.push("stream-events: api_failures".to_owned());
    }
    let webhooks = template.function_urls.iter().filter(|url| url.path.starts_with("/webhook/"));
    let webhooks = webhooks.map(|url| url.function.as_str());
    let metrics = webhooks.flat_map(|name| [("webhooks_refused", name), ("webhooks_unavailable", name)]);
    for (metric, service) in metrics.chain([("spool_backlog", "retry-sends")]) {
        if !is_watched("SmsFoundation", metric, "service", &service.into()) {
            missing.push(format!("{service}: {metric}"));
        }
    }
    assert!(missing.is_empty(), "no alarm for\n{}", missing.join("\n"));
}

#[test]
fn queues_are_retained_and_require_tls() {
    let document = document();
    let queues: BTreeSet<String> =
        resources(&document, "AWS::SQS::Queue").into_iter().map(|(id, _)| id).collect();
    for id in &queues {
        let queue = &document["Resources"][id];
        assert_eq!(
            (&queue["DeletionPolicy"], &queue["UpdateReplacePolicy"]),
            (&"Retain".into(), &"Retain".into()),
            "{id}"
        );
    }
    let policies = resources(&document, "AWS::SQS::QueuePolicy");
    let denied = policies.iter().filter(|(_, policy)| {
        let statement = &policy["PolicyDocument"]["Statement"][0];
        statement["Effect"] == "Deny" && statement["Condition"]["Bool"]["aws:SecureTransport"] == "false"
    });
    let covered = denied.flat_map(|(_, policy)| policy["Queues"].as_array().unwrap());
    let covered: BTreeSet<String> = covered.map(|queue| queue["Ref"].as_str().unwrap().to_owned()).collect();
    assert_eq!(covered, queues);
}

#[test]
fn buckets_are_retained_encrypted_and_private_and_require_tls() {
    let document = document();
    let buckets = resources(&document, "AWS::S3::Bucket");
    assert!(!buckets.is_empty());
    let policies = resources(&document, "AWS::S3::BucketPolicy");
    for (id, properties) in &buckets {
        let bucket = &document["Resources"][id];
        assert_eq!(
            (&bucket["DeletionPolicy"], &bucket["UpdateReplacePolicy"]),
            (&"Retain".into(), &"Retain".into()),
            "{id}"
        );
        assert!(properties["BucketEncryption"].is_object(), "{id}");
        let access = properties["PublicAccessBlockConfiguration"].as_object().unwrap();
        assert!(access.len() == 4 && access.values().all(|is_blocked| *is_blocked == true), "{id}");
        let policy = policies.iter().find(|(_, policy)| policy["Bucket"] == reference(id));
        let statement = &policy.unwrap().1["PolicyDocument"]["Statement"][0];
        assert_eq!(statement["Effect"], "Deny", "{id}");
        assert_eq!(statement["Condition"]["Bool"]["aws:SecureTransport"], "false", "{id}");
    }
}

#[test]
fn retention_is_compared_with_the_values_that_the_other_functions_have() {
    let document = document();
    let functions = resources(&document, "AWS::Serverless::Function");
    for variable in ["RECONCILE_WINDOW_SECONDS", "SEND_MAX_AGE_SECONDS", "UNKNOWN_PARK_AFTER_SECONDS"] {
        let values =
            functions.iter().map(|(_, properties)| &properties["Environment"]["Variables"][variable]);
        let values: Vec<&Value> = values.filter(|value| !value.is_null()).collect();
        assert!(
            values.len() >= 2 && values.windows(2).all(|pair| pair[0] == pair[1]),
            "{variable}: {values:?}"
        );
    }
}

#[test]
fn scheduled_functions_limit_retries_and_have_a_failure_destination() {
    let document = document();
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    assert!(template.schedules.len() >= 4);
    for schedule in &template.schedules {
        let function = template.function(&schedule.function).unwrap();
        assert!(function.async_retries <= 1, "{}", function.name);
        assert!(function.async_max_age <= std::time::Duration::from_secs(600), "{}", function.name);
        let config = &document["Resources"][&function.logical_id]["Properties"]["EventInvokeConfig"];
        assert!(config["DestinationConfig"]["OnFailure"]["Destination"].is_object(), "{}", function.name);
    }
}

#[test]
fn functions_with_public_or_queue_triggers_reserve_concurrency() {
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    let mut exposed: BTreeSet<&str> =
        template.function_urls.iter().map(|url| url.function.as_str()).collect();
    exposed.extend(
        template
            .routes
            .iter()
            .filter(|route| route.authorizer.is_none())
            .map(|route| route.function.as_str()),
    );
    exposed.extend(template.authorizers.values().map(|authorizer| authorizer.function.as_str()));
    exposed.extend(template.mappings.iter().map(|mapping| mapping.function.as_str()));
    for name in exposed {
        assert!(template.function(name).unwrap().reserved_concurrency.is_some(), "{name}");
    }
    for mapping in &template.mappings {
        let reserved = template.function(&mapping.function).unwrap().reserved_concurrency;
        assert!(
            reserved >= mapping.concurrency,
            "{}: reserved concurrency is below MaximumConcurrency",
            mapping.function
        );
    }
    let sum: usize = template.functions.iter().filter_map(|function| function.reserved_concurrency).sum();
    assert_eq!(sum, 637, "update the sum in the template and in the description of ReserveConcurrency");
    let none = TEXT.replace(
        "ReservesConcurrency: !Equals [!Ref ReserveConcurrency, \"true\"]",
        "ReservesConcurrency: !Equals [a, b]",
    );
    let none = Template::parse(&none, "us-east-1").unwrap();
    assert!(
        none.functions.iter().all(|function| function.reserved_concurrency.is_none()),
        "ReserveConcurrency=false must reserve nothing"
    );
}

#[test]
fn with_a_secret_for_the_api_only_webhooks_can_read_the_auth_token() {
    let document = document();
    let mut readers = 0;
    for (id, properties) in resources(&document, "AWS::Serverless::Function") {
        let reads =
            properties["Environment"]["Variables"]["TWILIO_SECRET_ARN"] == reference("TwilioSecretArn");
        let is_webhook = properties["CodeUri"].as_str().unwrap().starts_with("functions/webhooks/");
        assert_eq!(reads, is_webhook, "{id}");
        readers += usize::from(reads);
    }
    assert_eq!(readers, 2);
}

#[test]
fn function_urls_are_the_webhooks_base_urls_unless_a_domain_is_configured() {
    let own = BTreeMap::from([(
        "DeliveryStatusFunctionUrl.FunctionUrl".to_owned(),
        "https://status.example/".to_owned(),
    )]);
    let without = Template::parse(TEXT, "us-east-1").unwrap();
    let parameter = "  PublicWebhookBaseUrl:\n    Type: String\n    Default: ";
    let with = TEXT.replace(&format!("{parameter}\"\""), &format!("{parameter}https://sms.example"));
    let with = Template::parse(&with, "us-east-1").unwrap();
    let base_url = |template: &Template, function: &str| {
        let others = |name: &str| (name != "PUBLIC_WEBHOOK_BASE_URL").then(|| "x".to_owned());
        let function = template.function(function).unwrap();
        let environment = template.environment(function, others, &BTreeMap::new(), &own).unwrap();
        environment["PUBLIC_WEBHOOK_BASE_URL"].clone()
    };
    // Without a domain, the receivers take the event's domain name: a reference to their own URL is circular.
    for webhook in ["inbound-sms", "delivery-status"] {
        assert_eq!(base_url(&without, webhook), "", "{webhook}");
        assert_eq!(base_url(&with, webhook), "https://sms.example", "{webhook}");
    }
    assert_eq!(base_url(&without, "send-outbound"), "https://status.example/");
    assert_eq!(base_url(&with, "send-outbound"), "https://sms.example");
}

#[test]
fn descriptions_of_outputs_are_complete() {
    let document = document();
    // In unquoted YAML text, ` #` starts a comment.
    for (name, output) in document["Outputs"].as_object().unwrap() {
        let description = output["Description"].as_str().unwrap();
        assert!(description.ends_with('.'), "the description of {name} is cut off: {description}");
    }
}

#[test]
fn every_function_compares_its_environment_with_the_template() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    for function in &template.functions {
        let folder = repository.join(&function.code_uri);
        let main = fs::read_to_string(folder.join("src/main.rs")).unwrap();
        if main.contains("Config::from_env") {
            let tests = fs::read_to_string(folder.join("tests/it/main.rs")).unwrap();
            let check = format!("\"{}\"", function.name);
            let is_checked = tests.split("environment::check::<").skip(1).any(|call| call.contains(&check));
            assert!(
                is_checked,
                "{} does not call testing::environment::check in tests/it/main.rs",
                function.name
            );
        }
    }
}

#[test]
fn a_send_claim_lasts_longer_than_the_timeout_of_send_outbound() {
    let template = Template::parse(TEXT, "us-east-1").unwrap();
    let none = BTreeMap::new();
    let variable = |name: &str| (name != "SEND_CLAIM_TIMEOUT_SECONDS").then(|| "x".to_owned());
    let retries = template.function("retry-sends").unwrap();
    let environment = template.environment(retries, variable, &none, &none).unwrap();
    let claim_timeout: u64 = environment["SEND_CLAIM_TIMEOUT_SECONDS"].parse().unwrap();
    assert!(claim_timeout > template.function("send-outbound").unwrap().timeout.as_secs());
}

const OPERATIONS: &str = include_str!("../../../../common/docs/operations.md");

/// Returns GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_alarm_links_to_its_section_of_the_operations_page_and_every_section_says_what_to_do() {
    let alarms = OPERATIONS.split("\n# Alarms\n").nth(1).unwrap().split("\n# ").next().unwrap();
    let mut sections = BTreeMap::new();
    for section in alarms.split("\n## ").skip(1) {
        let (heading, text) = section.split_once('\n').unwrap();
        let parts = ["**Meaning.**", "**Check.**", "**Do.**", "**Over.**"].map(|part| text.find(part));
        assert!(parts.iter().all(Option::is_some) && parts.is_sorted(), "{heading}: {parts:?}");
        sections.insert(anchor(heading), 0);
    }
    for (id, alarm) in resources(&document(), "AWS::CloudWatch::Alarm") {
        let description =
            alarm["AlarmDescription"]["Fn::Sub"].as_str().unwrap_or_else(|| panic!("{id} has no link"));
        let (_, linked) =
            description.trim().rsplit_once("${OperationsUrl}#").unwrap_or_else(|| panic!("{id} has no link"));
        *sections.get_mut(linked).unwrap_or_else(|| panic!("{id}: no section {linked}")) += 1;
    }
    let unused: Vec<_> = sections.iter().filter(|(_, alarms)| **alarms == 0).collect();
    assert!(unused.is_empty(), "no alarm links to {unused:?}");
}
