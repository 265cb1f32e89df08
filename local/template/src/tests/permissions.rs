//! Compares what each function may do with what its variables and triggers say that it does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::deployment::{document, reference, resources};

/// Functions that send to a queue that they also consume: wake-ups of the same sender, hints for the same stream.
const SENDS_TO_ITS_OWN_QUEUE: [&str; 2] = ["DeliverEventFunction", "SendOutboundFunction"];
/// Functions that only read the length of the queues that they know.
const READS_ATTRIBUTES: [&str; 1] = ["HealthFunction"];
/// Functions that write archives; others only read them.
const WRITES_ARCHIVES: [&str; 1] = ["RemoveOldDataFunction"];
/// Functions that write and delete files of messages; others only read them.
const WRITES_FILES: [&str; 1] = ["StoreMediaFunction"];
/// Variables whose value depends on how long the caller of a function waits.
const DIFFERENT_PER_FUNCTION: [&str; 6] = [
    "DATABASE_BUDGET_MS",
    "DATABASE_CONNECT_TIMEOUT_MS",
    "DATABASE_STATEMENT_TIMEOUT_MS",
    "SQS_SEND_BUDGET_MS",
    "STORAGE_TIMEOUT_MS",
    "TWILIO_TIMEOUT_MS",
];

/// An action, and the resource or parameter to which a statement allows it.
type Permission = (String, String);

fn permission(action: &str, resource: &str) -> Permission {
    (action.to_owned(), resource.to_owned())
}

fn variables(properties: &Value) -> impl Iterator<Item = (&String, &Value)> {
    properties["Environment"]["Variables"].as_object().into_iter().flatten()
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())
}

/// Returns the values of a property in all branches of conditions.
fn branches(value: &Value) -> Vec<&Value> {
    match value.get("Fn::If").and_then(Value::as_array) {
        Some(branches) => branches[1..].iter().flat_map(|branch| self::branches(branch)).collect(),
        None => vec![value],
    }
}

/// Names the resource of a statement: `Id` for the ARN of a queue or bucket, `Id/prefix` for objects, or a parameter.
fn named(resource: &Value) -> String {
    let id = resource.pointer("/Fn::GetAtt/0").or(resource.get("Ref")).and_then(Value::as_str);
    let objects = resource["Fn::Sub"].as_str().map(|pattern| pattern.replace("${", "").replace(".Arn}", ""));
    id.map(str::to_owned).or(objects).unwrap_or_else(|| resource.to_string())
}

/// Reads what the policies of a function allow, with those that it refers to.
fn allowed(document: &Value, properties: &Value) -> BTreeSet<Permission> {
    let mut found = BTreeSet::new();
    for policy in list(&properties["Policies"]).into_iter().flat_map(branches) {
        if policy.is_null() || policy["Ref"] == "AWS::NoValue" {
            continue;
        }
        let referred =
            policy["Ref"].as_str().map(|id| &document["Resources"][id]["Properties"]["PolicyDocument"]);
        if let Some(statements) = referred.unwrap_or(policy).get("Statement") {
            for statement in list(statements).into_iter().flat_map(branches) {
                if statement["Ref"] == "AWS::NoValue" {
                    continue;
                }
                assert_eq!(statement["Effect"], "Allow", "{statement}");
                for action in list(&statement["Action"]) {
                    let resources = list(&statement["Resource"]).into_iter().flat_map(branches);
                    let action = action.as_str().expect("an action is a string");
                    found.extend(resources.map(|resource| permission(action, &named(resource))));
                }
            }
            continue;
        }
        let (template, arguments) = policy.as_object().and_then(|policy| policy.iter().next()).unwrap();
        for argument in arguments.as_object().unwrap().values() {
            found.insert(permission(template, &named(argument)));
        }
    }
    found
}

/// Derives what a function needs from its variables and the queues that it consumes.
fn needed(id: &str, properties: &Value, consumed: &BTreeSet<&str>) -> BTreeSet<Permission> {
    let mut needs: BTreeSet<Permission> =
        consumed.iter().map(|queue| permission("SQSPollerPolicy", queue)).collect();
    for (name, value) in variables(properties) {
        let refers = value.to_string();
        let resource = branches(value).into_iter().filter_map(|value| value["Ref"].as_str()).next();
        match (name.as_str(), resource) {
            (name, Some(queue)) if name.ends_with("_QUEUE_URL") => {
                if READS_ATTRIBUTES.contains(&id) {
                    needs.insert(permission("sqs:GetQueueAttributes", queue));
                } else if !consumed.contains(queue) || SENDS_TO_ITS_OWN_QUEUE.contains(&id) {
                    needs.insert(permission("SQSSendMessagePolicy", queue));
                }
            }
            ("ARCHIVE_BUCKET", Some(bucket)) => {
                needs.insert(permission("s3:ListBucket", bucket));
                needs.insert(permission("s3:GetObject", &format!("{bucket}/archive/*")));
                if WRITES_ARCHIVES.contains(&id) {
                    needs.insert(permission("s3:PutObject", &format!("{bucket}/archive/*")));
                    needs.insert(permission("s3:DeleteObject", &format!("{bucket}/archive/*")));
                }
            }
            ("MEDIA_BUCKET", Some(bucket)) => {
                let actions: &[&str] = if WRITES_FILES.contains(&id) {
                    &["s3:PutObject", "s3:DeleteObject"]
                } else {
                    &["s3:GetObject"]
                };
                let objects = format!("{bucket}/media/*");
                needs.extend(actions.iter().map(|action| permission(action, &objects)));
            }
            (name, Some(_)) if name.ends_with("_SECRET_ARN") => {
                let secrets = branches(value).into_iter().filter_map(|value| value["Ref"].as_str());
                needs.extend(secrets.map(|secret| permission("secretsmanager:GetSecretValue", secret)));
                needs.insert(permission("kms:Decrypt", "SecretsKmsKeyArn"));
            }
            (name, None) if name.ends_with("_QUEUE_URL") => panic!("{id}: {name} is {refers}"),
            _ => {}
        }
    }
    needs
}

#[test]
fn every_function_may_do_what_its_variables_and_triggers_need_and_nothing_else() {
    let document = document();
    let mappings = resources(&document, "AWS::Lambda::EventSourceMapping");
    let functions = resources(&document, "AWS::Serverless::Function");
    let mut with_permissions = 0;
    for (id, properties) in &functions {
        let consumed: BTreeSet<&str> = mappings
            .iter()
            .filter(|(_, mapping)| mapping["FunctionName"].to_string().contains(&format!("\"{id}")))
            .map(|(_, mapping)| mapping["EventSourceArn"]["Fn::GetAtt"][0].as_str().unwrap())
            .collect();
        let allowed = allowed(&document, properties);
        assert_eq!(allowed, needed(id, properties, &consumed), "{id}");
        with_permissions += usize::from(!allowed.is_empty());
    }
    assert!(with_permissions >= 11, "only {with_permissions} functions have policies");
}

#[test]
fn functions_that_send_to_the_queues_of_subscribers_have_the_policy_for_them() {
    let document = document();
    let senders: BTreeSet<String> = resources(&document, "AWS::Serverless::Function")
        .into_iter()
        .filter(|(_, properties)| variables(properties).any(|(name, _)| name == "SUBSCRIBER_QUEUE_ARNS"))
        .map(|(id, _)| format!("{id}Role"))
        .collect();
    let roles = list(&document["Resources"]["SubscriberQueuesPolicy"]["Properties"]["Roles"]);
    let allowed: BTreeSet<String> =
        roles.iter().map(|role| role["Ref"].as_str().unwrap().to_owned()).collect();
    assert_eq!(allowed, senders);
    assert!(senders.len() >= 5, "{senders:?}");
}

#[test]
fn every_parameter_and_every_condition_is_used() {
    let mut document = document();
    let parameters = document["Parameters"].take();
    let conditions = document["Conditions"].clone();
    let text = document.to_string();
    for parameter in parameters.as_object().unwrap().keys() {
        let is_used = text.contains(&format!("{{\"Ref\":\"{parameter}\"}}"))
            || text.contains(&format!("${{{parameter}}}"));
        assert!(is_used, "the parameter {parameter} is not used");
    }
    for condition in conditions.as_object().unwrap().keys() {
        let is_used = text.contains(&format!("\"Fn::If\":[\"{condition}\""))
            || text.contains(&format!("\"Condition\":\"{condition}\""));
        assert!(is_used, "the condition {condition} is not used");
    }
}

#[test]
fn variables_have_the_value_of_the_parameter_or_queue_of_the_same_name() {
    let document = document();
    let camel_case = |variable: &str| -> String {
        let words = variable.split('_').filter(|word| !word.is_empty());
        words.map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
    };
    let mut compared = 0;
    for (id, properties) in resources(&document, "AWS::Serverless::Function") {
        for (name, value) in variables(&properties) {
            let Some(referred) = value["Ref"].as_str().filter(|referred| *referred != "AWS::StackName")
            else {
                continue;
            };
            let expected =
                camel_case(name.strip_suffix("_URL").filter(|name| name.ends_with("QUEUE")).unwrap_or(name));
            assert_eq!(referred, expected, "{id}: {name}");
            compared += 1;
        }
    }
    assert!(compared >= 50, "only {compared} variables were compared");
}

#[test]
fn a_variable_has_the_same_value_in_every_function_that_has_it() {
    let document = document();
    let mut values: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for (id, properties) in resources(&document, "AWS::Serverless::Function") {
        for (name, value) in variables(&properties) {
            // A function that calls Twilio may have an API key instead.
            if DIFFERENT_PER_FUNCTION.contains(&name.as_str()) || value.get("Fn::If").is_some() {
                continue;
            }
            let (first, expected) = values.entry(name.clone()).or_insert_with(|| (id.clone(), value.clone()));
            assert_eq!(value, expected, "{name} of {id} and {first}");
        }
    }
    assert!(values.len() >= 60, "only {} variables", values.len());
}

#[test]
fn alarms_queues_and_mappings_are_connected_to_the_resources_that_their_names_say() {
    let document = document();
    for (id, properties) in resources(&document, "AWS::SQS::Queue") {
        let target = &properties["RedrivePolicy"]["deadLetterTargetArn"];
        let is_source = !id.contains("DeadLetter") && id != "FailedSchedulesQueue";
        let expected = serde_json::json!({ "Fn::GetAtt": [id.replace("Queue", "DeadLetterQueue"), "Arn"] });
        assert_eq!(target, if is_source { &expected } else { &Value::Null }, "{id}");
    }
    for (id, properties) in resources(&document, "AWS::Lambda::EventSourceMapping") {
        // A function may have a second queue for slow work.
        let function = id.replace("Slow", "").replace("Mapping", "Function");
        assert!(properties["FunctionName"].to_string().contains(&format!("\"{function}")), "{id}");
    }
    for (id, properties) in resources(&document, "AWS::CloudWatch::Alarm") {
        let Some(endpoint) = id.strip_suffix("FailingAlarm") else { continue };
        let metrics = properties["Metrics"].as_array().unwrap();
        let watched: Vec<&Value> = metrics
            .iter()
            .filter_map(|metric| metric.pointer("/MetricStat/Metric/Dimensions/0/Value"))
            .collect();
        // An alarm is for one function, or for several, whose deployments it rolls back.
        let own = format!("{endpoint}Function");
        let functions = resources(&document, "AWS::Serverless::Function");
        let expected: Vec<Value> = functions
            .iter()
            .filter(|(function, properties)| {
                let alarms = properties["DeploymentPreference"]["Alarms"].to_string();
                *function == own || alarms.contains(&format!("{{\"Ref\":\"{id}\"}}"))
            })
            .map(|(function, _)| reference(function))
            .collect();
        assert!(!expected.is_empty(), "{id}");
        for value in &watched {
            assert!(expected.contains(value), "{id} watches {value}");
        }
        for value in &expected {
            assert!(watched.contains(&value), "{id} does not watch {value}");
        }
    }
}

#[test]
fn the_gateway_may_invoke_only_the_authorizer() {
    let document = document();
    let roles = resources(&document, "AWS::IAM::Role");
    let (_, role) = roles.iter().find(|(id, _)| id == "AuthorizerInvokeRole").unwrap();
    let policies = role["Policies"].as_array().unwrap();
    let [policy] = policies.as_slice() else { panic!("{policies:?}") };
    let statements = list(&policy["PolicyDocument"]["Statement"]);
    let [statement] = statements.as_slice() else { panic!("{statements:?}") };
    assert_eq!(statement["Action"], "lambda:InvokeFunction");
    assert!(named(&statement["Resource"]).starts_with("AuthorizeFunction"), "{statement}");
}
